"""The main job, to look at: who asked for what, in which context it ran, and what the kernel let it do.

`bin/demo` boots the guest and runs this package inside; __main__.py is the inside. site.py of tests/enforcing lays out
what it needs, requests.py asks through the web server, table.py prints and judges.
"""

ALL_ALLOWED = "verdict: every access was allowed, whatever the mapping says"  # what permissive domains must give
