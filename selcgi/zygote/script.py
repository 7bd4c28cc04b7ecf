# ruff: noqa: SIM115, S102
"""A CGI script as `__main__` in a zygote's child."""

import os
import sys
import traceback
import types
from types import CodeType


def precompile(path: str, descriptor: int) -> CodeType | None:
    return compile(os.pread(descriptor, 1 << 20, 0), path, "exec")


def run(code: CodeType | None, path: str, descriptor: int) -> int:
    os.close(descriptor)
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__file__ = path
    sys.stdout = open(1, "w", closefd=False)
    sys.stdin = open(0, closefd=False)
    sys.stderr = open(2, "w", closefd=False)
    try:
        exec(code or "", main.__dict__)
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
