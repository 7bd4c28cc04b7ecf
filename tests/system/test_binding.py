"""The real binding is found behind a stub, from a virtual environment, and nothing else comes with it."""

import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from selcgi.errors import StartRefused
from selcgi.system import binding

STUB = "def is_selinux_enabled():\n    return 0\n"
REAL = """
if __package__ or "." in __name__:
    from . import _selinux
else:
    import _selinux
setexeccon_raw = _selinux.setexeccon_raw
"""
BESIDE = "import _selinux\nsetexeccon_raw = _selinux.setexeccon_raw\n"
WARNING = "import warnings\nwarnings.warn('swigvarlink has no __module__ attribute', DeprecationWarning)\n"
EXTENSION = "def setexeccon_raw(context):\n    return 0\n"


@pytest.fixture(autouse=True)
def modules() -> Iterator[None]:
    """Whatever this machine has stays out of the test, and comes back after it."""
    names = ("selinux", "_selinux", "selinux._selinux")
    before = {name: sys.modules.pop(name, None) for name in names}
    sys.modules["selinux"] = None  # type: ignore[assignment]
    yield
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def package(folder: Path, text: str) -> Path:
    (folder / "selinux").mkdir(parents=True)
    (folder / "selinux" / "__init__.py").write_text(text)
    return folder


def with_stub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As PyPI's package does in a virtual environment."""
    monkeypatch.syspath_prepend(package(folder, STUB))
    del sys.modules["selinux"]


def test_package_with_its_extension_inside(tmp_path: Path) -> None:
    package(tmp_path, REAL)
    (tmp_path / "selinux" / "_selinux.py").write_text(EXTENSION)
    path = list(sys.path)
    found = binding.find_binding([tmp_path / "absent", tmp_path])
    assert found.setexeccon_raw("x") == 0
    assert sys.modules["selinux"] is found
    assert sys.path == path


def test_package_with_its_extension_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "EXTENSION_SUFFIXES", [".py"])  # a compiled one would need a compiler here
    monkeypatch.setattr(binding, "ExtensionFileLoader", SourceFileLoader)
    package(tmp_path, BESIDE)
    (tmp_path / "_selinux.py").write_text(EXTENSION)
    assert binding.find_binding([tmp_path]).setexeccon_raw("x") == 0


def test_real_binding_is_found_behind_a_stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_stub(monkeypatch, tmp_path / "venv")
    package(tmp_path / "system", REAL)
    (tmp_path / "system" / "selinux" / "_selinux.py").write_text(EXTENSION)
    assert binding.find_binding([tmp_path / "system"]).setexeccon_raw("x") == 0


def test_binding_in_the_import_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, EXTENSION))
    del sys.modules["selinux"]
    assert binding.find_binding([]).__file__ == str(tmp_path / "selinux" / "__init__.py")


@pytest.mark.parametrize("in_the_import_path", [True, False])
def test_binding_that_warns_is_found_where_warnings_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_the_import_path: bool
) -> None:
    package(tmp_path, WARNING + EXTENSION)
    if in_the_import_path:
        monkeypatch.syspath_prepend(tmp_path)
        del sys.modules["selinux"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = binding.find_binding([] if in_the_import_path else [tmp_path])
        with pytest.raises(DeprecationWarning):
            warnings.warn("the filter of the program is as it was", DeprecationWarning, stacklevel=1)
    assert found.setexeccon_raw("x") == 0


def test_missing_binding_names_the_package_to_install() -> None:
    with pytest.raises(StartRefused, match="python3-selinux") as raised:
        binding.find_binding([])
    assert "missing" in raised.value.reason


def test_stub_alone_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_stub(monkeypatch, tmp_path)
    with pytest.raises(StartRefused, match="is a stub"):
        binding.find_binding([])


@pytest.mark.parametrize(("text", "words"), [(REAL, "_selinux"), (STUB, "is a stub")], ids=["other version", "stub"])
def test_unusable_system_package_is_refused_and_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    with_stub(monkeypatch, tmp_path / "venv")
    package(tmp_path / "system", text)
    with pytest.raises(StartRefused) as raised:
        binding.find_binding([tmp_path / "system"])
    assert f"{tmp_path}/system/selinux" in raised.value.reason
    assert words in raised.value.reason.rpartition(";")[2]
    assert str(sys.modules["selinux"].__file__).startswith(str(tmp_path / "venv"))
