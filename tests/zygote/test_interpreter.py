"""For which first lines and variables a zygote can stand, and that its children are as that start would be."""

import os
import subprocess
from pathlib import Path

import pytest

from selcgi.errors import LoadFailed
from selcgi.zygote import script
from tests.stack import TREE
from tests.zygote.test_script import CHILD, _alike

PYTHON = "/usr/bin/python3"
SHOW = """
import os, site, sys
print(sys.executable, sys.prefix, sys.exec_prefix, sys.base_prefix, sys.path, sys.flags, sys.orig_argv, sys.argv)
print(site.ENABLE_USER_SITE, site.USER_SITE, site.PREFIXES, sys.warnoptions, sys.dont_write_bytecode)
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream.encoding, stream.errors, stream.line_buffering, stream.write_through, repr(stream), flush=True)
print(sorted(os.environ.items()))
try: import mine_alone; print(mine_alone)
except ImportError as error: print(error)
"""
REFUSE = """
import sys
sys.path.insert(0, sys.argv[1])
from selcgi.errors import LoadFailed
from selcgi.zygote import interpreter
try:
    interpreter.become(sys.argv[2], sys.argv[3], package=sys.argv[1])
except LoadFailed as error:
    print(error)
"""


def shown(program: list[str], folder: Path, environ: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(program, input=b"", capture_output=True, check=False, cwd=folder, env=environ, timeout=60)
    return done.returncode, _alike(done.stdout), _alike(done.stderr)


def same(folder: Path, first: str, fresh: list[str], **environ: str) -> str:
    """Both ways show the same; what they show."""
    path = folder / "script.py"
    path.write_text(f"#!{first}\n{SHOW}")
    environ = {"PATH": "/usr/bin:/bin", **environ}
    wanted = shown([*fresh, str(path)], folder, environ)
    assert shown([PYTHON, "-IS", str(CHILD), str(TREE), "", str(path)], folder, environ) == wanted
    assert wanted[0] == 0, wanted[2]
    return wanted[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment of the system's Python, with a module of its own."""
    place = tmp_path_factory.mktemp("venv") / "v"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", str(place)], check=True, timeout=120)
    (packages,) = place.glob("lib/python3*/site-packages")
    (packages / "mine_alone.py").write_text("")
    return place


def test_a_virtual_environment(tmp_path: Path, environment: Path) -> None:
    python = str(environment / "bin" / "python3")
    said = same(tmp_path, python, [python])
    assert f"{python} {environment}" in said
    assert "mine_alone" in said.rpartition("\n<module")[2]


def test_one_with_the_packages_of_the_system(tmp_path: Path) -> None:
    place = tmp_path / "v"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", "--system-site-packages", str(place)], check=True)
    python = str(place / "bin" / "python")
    assert "dist-packages" in same(tmp_path, python, [python]) or "site-packages" in same(tmp_path, python, [python])


@pytest.mark.parametrize(
    "first", ["/usr/bin/env python3", "/usr/bin/env -S python3 -u", "/usr/bin/env -S python3 -B -s"]
)
def test_env_finds_it(tmp_path: Path, first: str) -> None:
    same(tmp_path, first, first.split())


def test_env_finds_it_in_an_environment(tmp_path: Path, environment: Path) -> None:
    path = f"{environment / 'bin'}:/usr/bin:/bin"
    assert str(environment) in same(tmp_path, "/usr/bin/env python3", ["/usr/bin/env", "python3"], PATH=path)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LANG": "C.UTF-8"},
        {"LC_ALL": "C"},
        {"LC_CTYPE": "C"},
        {"LANG": "no_such_locale"},
        {"PYTHONUNBUFFERED": "1"},
        {"PYTHONDONTWRITEBYTECODE": "1"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "utf8:replace"},
        {"PYTHONIOENCODING": ":strict"},
        {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": "yes"},
        {"PYTHONNOUSERSITE": "1"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONPATH": "/nowhere:/usr/share"},
        {"PYTHONWARNINGS": "ignore,error::UserWarning"},
        {"PYTHONHASHSEED": "random"},
        {"TZ": "Europe/Berlin"},
    ],
    ids=str,
)
def test_variables(tmp_path: Path, environ: dict[str, str]) -> None:
    same(tmp_path, PYTHON, [PYTHON], **environ)


def test_variables_that_the_first_line_forbids(tmp_path: Path) -> None:
    environ = {"PYTHONPATH": "/usr/share", "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": "0"}
    same(tmp_path, f"{PYTHON} -E", [PYTHON, "-E"], **environ)


def test_packages_of_the_account_are_there_in_the_child_alone(tmp_path: Path) -> None:
    packages = tmp_path / "home" / ".local/lib" / f"python{minor()}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "mine_alone.py").write_text("")
    (packages / "say.pth").write_text("import os; os.write(2, b'pid %d' % (os.getpid() == os.getsid(0)))\n")
    said = same(tmp_path, PYTHON, [PYTHON], HOME=str(tmp_path / "home"))
    assert f"{packages}/mine_alone.py" in said


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of an account with packages, whose .pth files change sys.path in each way."""
    packages = tmp_path / "home" / ".local/lib" / f"python{minor()}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "more").mkdir()
    (packages / "all.pth").write_text("more\nimport sys; sys.path.insert(0, '/first'); sys.path.append('/last')\n")
    return tmp_path / "home"


def test_packages_of_the_account_have_their_place(tmp_path: Path, home: Path) -> None:
    for path in ("", "/usr/share:/usr/share:/usr/bin"):
        assert "'/first'" in same(tmp_path, PYTHON, [PYTHON], HOME=str(home), PYTHONPATH=path)


def test_they_come_after_those_of_an_environment(tmp_path: Path, home: Path) -> None:
    place = tmp_path / "v"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", "--system-site-packages", str(place)], check=True)
    assert "'/first'" in same(tmp_path, f"{place}/bin/python", [f"{place}/bin/python"], HOME=str(home))


APPLICATION = """
import os, sys
sys.path.insert(0, sys.argv[1])
from selcgi.zygote import interpreter
from selcgi.zygote.fresh import Fresh
fresh = Fresh(interpreter.become("", "", package=sys.argv[1]))
sys.path.insert(0, "/srv/shop")
sys.path.append("/srv/more")
fresh.settle("")
fresh.begin((b"app.wsgi",), dict(os.environb))
print(sys.path)
"""


def test_they_have_it_also_where_an_application_has_changed_the_path(tmp_path: Path, home: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    _, fresh, _ = shown([PYTHON, "-Pc", "import sys; print(['/srv/shop', *sys.path, '/srv/more'])"], tmp_path, environ)
    _, warm, said = shown([PYTHON, "-IS", "-c", APPLICATION, str(TREE)], tmp_path, environ)
    # What inserts itself at the front does so later here.
    assert warm.replace("'/first', '/srv/shop'", "'/srv/shop', '/first'") == fresh, said


def minor() -> str:
    line = [PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def refused(interpreter: str, flags: str = "", **environ: str) -> str:
    line = [PYTHON, "-IS", "-c", REFUSE, str(TREE), interpreter, flags]
    environ = {"PATH": "/usr/bin:/bin", **environ}
    return subprocess.run(line, capture_output=True, text=True, check=True, env=environ, timeout=60).stdout


def test_another_python_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "python9"
    other.write_text("")
    said = refused(str(other))
    assert said.startswith(
        f"its interpreter {other} is {other}, and bin/selcgi-zygote is run by {os.path.realpath(PYTHON)};"
    )
    assert "install selcgi with that Python" in said


@pytest.mark.parametrize(
    ("interpreter", "flags", "reason"),
    [
        ("/bin/sh", "", "its interpreter is /bin/sh; warm interpreters run Python alone"),
        ("/usr/bin/perl", "-w", "its interpreter is /usr/bin/perl; warm interpreters run Python alone"),
        ("/usr/bin/env", "perl", "its interpreter is /usr/bin/perl; warm interpreters run Python alone"),
        ("/usr/bin/env", "no-such-python", "/usr/bin/env finds no no-such-python in PATH"),
        ("/usr/bin/env", "", "/usr/bin/env finds no program in PATH"),
        (PYTHON, "-O", "a warm interpreter can't be started with -O; leave all but -B -E -I -P -s -u out"),
        (PYTHON, "-Xdev", "a warm interpreter can't be started with -Xdev"),
        (PYTHON, "-Wignore", "a warm interpreter can't be started with -Wignore"),
        (PYTHON, "-S", "a warm interpreter can't be started with -S"),
        (PYTHON, "other.py", "a warm interpreter can't be started with other.py"),
    ],
)
def test_what_it_can_not_be_is_refused(interpreter: str, flags: str, reason: str) -> None:
    said = refused(interpreter, flags)
    assert said.startswith(reason), said
    assert "; " in said


@pytest.mark.parametrize(
    "environ", [{"PYTHONHASHSEED": "0"}, {"PYTHONOPTIMIZE": "1"}, {"PYTHONUTF8": "0"}, {"PYTHONHOME": "/opt"}], ids=str
)
def test_variables_that_come_too_late_are_refused(environ: dict[str, str]) -> None:
    assert refused(PYTHON, "", **environ).startswith(
        f"{next(iter(environ))} is set, which a warm interpreter can't follow;"
    )


@pytest.mark.parametrize("path", ["lib", "/usr/share:", "/usr/share::/usr/lib"])
def test_a_place_that_hangs_on_the_folder_is_refused(path: str) -> None:
    """A fresh start would take modules from the folder of the script."""
    assert refused(PYTHON, "", PYTHONPATH=path).startswith("PYTHONPATH names a place by no absolute path")
    assert refused(PYTHON, "-E", PYTHONPATH=path) == ""


def test_a_program_that_is_no_script_is_refused() -> None:
    descriptor = os.open("/bin/true", os.O_RDONLY)
    try:
        with pytest.raises(LoadFailed, match="/bin/true has no first line that names Python; begin it with"):
            script.precompile("/bin/true", descriptor)
    finally:
        os.close(descriptor)
