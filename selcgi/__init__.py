"""selcgi: a FastCGI responder that starts each script as a one-time process in the user's SELinux context."""

VERSION = "0.1.0"
