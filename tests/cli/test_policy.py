"""`selcgi policy new` on a machine of any kind: what it writes, what it refuses, what it says."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from selcgi.cli.main import cli
from selcgi.errors import PolicyRefused


def new(folder: Path, *words: str, name: str = "shop_of_tests") -> tuple[int, str, object]:
    line = ["policy", "new", name, "--output", str(folder / "shop.cil"), *words]
    result = CliRunner().invoke(cli, line)
    return result.exit_code, result.output, result.exception


def test_it_writes_the_module_and_says_what_to_do(tmp_path: Path) -> None:
    code, output, _ = new(tmp_path, "--script=/srv/x/cgi/", "--writes=/srv/x/data", "--connects=ldap_port_t", "--mail")
    text = (tmp_path / "shop.cil").read_text()
    assert code == 0
    assert "(block shop_of_tests\n" in text
    assert "(call selcgi_webapp_mail (webapp_t))" in text
    assert '(filecon "/srv/x/data(/.*)?" any (system_u object_r shop_of_tests.rw_t' in text
    lines = [line.strip() for line in output.splitlines()]
    assert f"semodule -i {tmp_path}/shop.cil" in lines
    assert "restorecon -RF /srv/x/cgi /srv/x/data" in lines
    assert "USER  shop_of_tests.webapp_t:s0 script=/srv/x/cgi/*" in lines
    assert "for selcgi: --root=/srv/x/cgi" in lines
    assert "a --root takes the place of the default, /srv/cgi: name that, too, where it is used" in lines
    assert lines[-5:-3] == ["in the unit (systemctl edit selcgi), which leaves the rest read-only:", "[Service]"]
    assert lines[-3] == "ReadWritePaths=/srv/x/data"
    assert lines[-2:] == ["to check it then:", "selcgi doctor --root=/srv/cgi --root=/srv/x/cgi"]


def test_of_a_warm_one_it_says_how_a_wsgi_application_is_named(tmp_path: Path) -> None:
    _, output, _ = new(tmp_path, "--warm", "--script=/srv/cgi/a.py", "--script=/srv/cgi/b.py", "--writes=/srv/data/x")
    tail = [line.strip() for line in output.partition("same users:\n")[2].splitlines()]
    rules = [f"USER  shop_of_tests.webapp_t:s0 script=/srv/cgi/{name}.py warm=yes" for name in ("a", "b")]
    named = "a WSGI application: warm=wsgi:NAME, with the name that it has in its file"
    assert tail == [*rules, named, "to check it then:", "selcgi doctor"]


def test_without_scripts_the_rule_is_for_all(tmp_path: Path) -> None:
    assert "    USER  shop_of_tests.webapp_t:s0\n" in new(tmp_path)[1]


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    (tmp_path / "shop.cil").write_text("mine")
    code, _, error = new(tmp_path)
    assert code == 1
    assert isinstance(error, PolicyRefused)
    assert "--force" in error.fix
    assert (tmp_path / "shop.cil").read_text() == "mine"
    assert new(tmp_path, "--force")[0] == 0
    assert "blockinherit" in (tmp_path / "shop.cil").read_text()


def test_it_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "shop.cil").symlink_to(tmp_path / "other")
    assert isinstance(new(tmp_path, "--force")[2], PolicyRefused)
    assert (tmp_path / "other").read_text() == "other"


@pytest.mark.parametrize("words", [["--writes=/etc/x"], ["--reads=/srv/x", "--writes=/srv/x"], ["--connects=x y"]])
def test_what_cannot_be_written_is_refused_by_name(tmp_path: Path, words: list[str]) -> None:
    assert isinstance(new(tmp_path, *words)[2], PolicyRefused)
    assert not (tmp_path / "shop.cil").exists()


@pytest.mark.parametrize("port", ["0", "65536", "99999999999999999999", "²"])
def test_no_port(tmp_path: Path, port: str) -> None:
    code, _, _ = new(tmp_path, f"--connects={port}")
    assert code in (1, 2)
    assert not (tmp_path / "shop.cil").exists()
