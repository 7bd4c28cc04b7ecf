"""`python -m selcgi`: the program in the caller's own SELinux domain. bin/selcgi, by its label, works in selcgi_t."""

from selcgi.cli.main import main

if __name__ == "__main__":
    main()
