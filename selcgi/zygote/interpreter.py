# ruff: noqa: ARG001
"""This process as if the script's own interpreter had been started: its packages, its name."""


def become(interpreter: str, flags: str) -> None:
    import sys

    sys.executable = interpreter or "/usr/bin/python3"
    import site

    site.main()
