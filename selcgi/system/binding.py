"""Finds libselinux's own Python binding, from inside a virtual environment too.

Decides which module is the real one: PyPI's package `selinux` is a stub on Debian and Ubuntu that always says that
SELinux is off. The distribution's package is loaded by its file, so that nothing else of the system's packages comes
into the import path. Must not ask SELinux anything. Called by system/selinux.py.
"""

import importlib
import sys
import warnings
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from selcgi.errors import StartRefused

_NAMES = ("selinux", "_selinux", "selinux._selinux")
_PROOF = "setexeccon_raw"  # what the stub lacks
_FIX = "install the distribution's package: python3-selinux (Debian, Ubuntu, openSUSE), python3-libselinux (Fedora)"


def system_directories() -> tuple[Path, ...]:
    """Where distributions keep packages for the Python that runs now: Debian, Fedora 64 bit, others."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return (
        Path("/usr/lib/python3/dist-packages"),
        Path(f"/usr/lib64/{version}/site-packages"),
        Path(f"/usr/lib/{version}/site-packages"),
    )


def find_binding(directories: Iterable[Path] | None = None) -> ModuleType:
    """The module `selinux` with all of libselinux in it. StartRefused says what was found instead."""
    # From Python 3.12 on SWIG's types warn that they lack __module__. Where warnings are errors such a type stays half
    # made, and the first av_decision() ends the process by SIGSEGV.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _find(system_directories() if directories is None else directories)


def _find(directories: Iterable[Path]) -> ModuleType:
    found = []
    try:
        module = importlib.import_module("selinux")
        if hasattr(module, _PROOF):
            return module
        found.append(f"{module.__file__} is a stub without {_PROOF}")
    except ImportError as error:
        found.append(str(error))
    for directory in directories:
        if (directory / "selinux" / "__init__.py").exists():
            try:
                return _load(directory)
            except ImportError as error:
                found.append(f"{directory}/selinux: {error}")
    raise StartRefused(f"libselinux's binding for Python is missing ({'; '.join(found)})", _FIX)


def _load(directory: Path) -> ModuleType:
    """The package below `directory`, known as `selinux` from now on. ImportError leaves the modules as they were."""
    before = {name: sys.modules.pop(name, None) for name in _NAMES}
    try:
        _load_extension(directory)
        package = directory / "selinux"
        spec = spec_from_file_location("selinux", package / "__init__.py", submodule_search_locations=[str(package)])
        if spec is None or spec.loader is None:
            raise ImportError("cannot be loaded")
        module = module_from_spec(spec)
        sys.modules["selinux"] = module
        spec.loader.exec_module(module)
        if not hasattr(module, _PROOF):
            raise ImportError(f"is a stub without {_PROOF}")
    except ImportError:
        _restore(before)
        raise
    return module


def _load_extension(directory: Path) -> None:
    """Older packages import `_selinux` from beside the package; newer ones from inside it, which needs no help."""
    inside, beside = (
        [parent / f"_selinux{end}" for end in EXTENSION_SUFFIXES] for parent in (directory / "selinux", directory)
    )
    if any(path.exists() for path in inside):
        return
    for path in filter(Path.exists, beside):
        spec = spec_from_file_location("_selinux", path, loader=ExtensionFileLoader("_selinux", str(path)))
        if spec is not None and spec.loader is not None:
            sys.modules["_selinux"] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules["_selinux"])
        return


def _restore(before: dict[str, ModuleType | None]) -> None:
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
