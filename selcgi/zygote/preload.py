"""The modules that the administrator has every zygote import."""

import importlib
from collections.abc import Sequence


def load(names: Sequence[str]) -> None:
    for n in names:
        importlib.import_module(n)


def check() -> None: ...
