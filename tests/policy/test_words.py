"""What may stand in a policy module, and what would break out of it or take the system along."""

import re

import pytest

from selcgi.errors import PolicyRefused
from selcgi.policy.words import checked_name, checked_path, checked_type, pattern


@pytest.mark.parametrize("name", ["shop", "a1", "wiki_2"])
def test_names(name: str) -> None:
    assert checked_name(name) == name


BAD_NAMES = ["", "a", "Shop", "1shop", "shop.x", "sh op", "shop)", "shop;", "sh\nop", "shöp", "x" * 40]


@pytest.mark.parametrize("name", [*BAD_NAMES, "base", "selcgi", "selcgi_two", "webapp", "avc"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(PolicyRefused) as caught:
        checked_name(name)
    assert caught.value.fix


@pytest.mark.parametrize("name", ["ldap_port_t", "shop.port_t"])
def test_types(name: str) -> None:
    assert checked_type(name) == name


@pytest.mark.parametrize("name", ["", "x y", "x)", '"', "(type", "é_t"])
def test_types_that_are_refused(name: str) -> None:
    with pytest.raises(PolicyRefused):
        checked_type(name)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/srv/shop", "/srv/shop"),
        ("/srv/shop/", "/srv/shop"),
        ("/srv/a+b[1]{2}$^|?*.d", "/srv/a+b[1]{2}$^|?*.d"),
        ("/usr/lib/cgi-bin/x.cgi", "/usr/lib/cgi-bin/x.cgi"),
        ("/run/shop", "/run/shop"),
    ],
)
def test_paths(text: str, path: str) -> None:
    assert checked_path(text) == path


BROKEN = ["", "shop", "./shop", "/srv/../etc", "//srv/shop", '/srv/a"b', "/srv/a b", "/srv/a\\b", "/srv/a\nb", "/srv/ä"]
TAKEN = ["/", "/srv", "/usr/bin", "/etc", "/var/www", "/proc/1", "/sys/x", "/etc/selcgi/x", "/run/selcgi", "/srv/cgi"]
MAPPED = ["/var/run/shop", "/var/lock/shop", "/home/alice/shop"]


@pytest.mark.parametrize("text", [*BROKEN, *TAKEN, *MAPPED])
def test_paths_that_are_refused(text: str) -> None:
    with pytest.raises(PolicyRefused) as caught:
        checked_path(text)
    assert caught.value.fix


@pytest.mark.parametrize("text", ["/usr/share/shop", "/etc/shop", "/usr/lib/cgi-bin/data", "/root/shop"])
def test_what_a_script_may_read_but_not_change(text: str) -> None:
    assert checked_path(text) == text
    with pytest.raises(PolicyRefused):
        checked_path(text, changes=True)


def test_another_name_of_a_place_is_said() -> None:
    with pytest.raises(PolicyRefused) as caught:
        checked_path("/var/run/shop/a")
    assert caught.value.fix == "write /run/shop/a"


@pytest.mark.parametrize("path", ["/srv/a.b", "/srv/a+b(c)[d]{e}", "/srv/^a$|b*?"])
def test_a_pattern_matches_its_path_alone(path: str) -> None:
    assert re.fullmatch(pattern(path), path)
    assert not re.fullmatch(pattern(path), path.replace(".", "x") if "." in path else path + "x")
