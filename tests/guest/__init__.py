"""A real SELinux kernel as an ordinary process: user-mode-linux with a Debian userland, in enforcing mode.

`image.build(suite)` makes the disk once, `machine.run(...)` boots a throwaway copy of it and runs one command inside.
`python -m tests.guest` does both from the command line. No privilege of the host's kernel is needed.
"""
