#!/usr/bin/python3
"""Tries each access and prints what became of it. The query gives the places; every attempt is this process's own."""

import os
import signal
import socket
from typing import Any
from urllib.parse import parse_qsl

ask = dict(parse_qsl(os.environ["QUERY_STRING"]))


def attempt(name: str, access: Any, *arguments: Any) -> None:
    try:
        access(*arguments)
    except OSError:
        print(f"{name}=no")
    else:
        print(f"{name}=yes")


print("Content-Type: text/plain\n")
print("context=" + open("/proc/self/attr/current").read().strip("\0\n"))
attempt("own", open, ask["own"])
attempt("other", open, ask["other"])
attempt("public", open, ask["public"])
attempt("write", open, ask["own"], "a")
attempt("connect", socket.create_connection, ("127.0.0.1", int(ask["port"])))
attempt("signal", os.kill, int(ask["victim"]), signal.SIGCONT)
