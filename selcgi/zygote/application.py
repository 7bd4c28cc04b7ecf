"""A WSGI application in a zygote's child."""

from collections.abc import Mapping
from typing import Any

from selcgi.errors import StartRefused


def load(name: str, path: str, descriptor: int) -> Any:
    raise StartRefused(f"no WSGI application is served yet: {name} of {path} ({descriptor})")


def run(app: Any, environ: Mapping[str, str]) -> int:
    raise StartRefused(f"no WSGI application is served yet: {app} {len(environ)}")
