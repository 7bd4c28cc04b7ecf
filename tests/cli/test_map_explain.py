"""`selcgi map explain` and `selcgi explain` refuse, as a request is refused, categories that could be another's."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from selcgi.cli.mapping import mapping
from selcgi.context import Band
from selcgi.diagnose.explaining import explain_request
from selcgi.mapping.categories import Bands
from selcgi.mapping.table import Query
from selcgi.serve.sources import open_sources
from selcgi.settings import REQUEST_BAND, MapParam, Settings
from tests.diagnose.shipped import scene
from tests.diagnose.test_explaining import MACHINE

OWN = "* staff_webapp_t:s0:c{user}\n"
OTHERS = "* staff_webapp_t:s0:c1\n"
NARROW = ("--user-categories", "c0.c9")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site.map"


def explained(site: Path, value: str, *options: str, user: str = "alice") -> Result:
    words = ["explain", "param:CONTEXT", str(site), "--param-domain", "user_webapp_t", *options]
    words += ["--user", user] if user else []
    words += ["--param", f"CONTEXT=user_webapp_t:{value}"] if value else []
    return CliRunner().invoke(mapping, words)


@pytest.mark.parametrize(
    ("rules", "value", "options", "span"),
    [
        (OWN, "s0:c600,c601", (), "c600.c600"),
        (OWN, "s0:c1-s0:c1,c489", (), "c489.c489"),
        (OWN, "s0-s0:c0.c1023", (), "c0.c1023"),
        (OWN, "s0:c7", NARROW, "c7.c7"),
        (OWN, "s0:c7", (), ""),
        (OWN, "s0:c600", NARROW, ""),
        (OTHERS, "s0:c600,c601", (), ""),
    ],
)
def test_what_a_directory_says_is_refused_by_the_bands(
    site: Path, rules: str, value: str, options: tuple[str, ...], span: str
) -> None:
    site.write_text(rules)
    done = explained(site, value, *options)
    match, last = done.output.splitlines()
    assert match.startswith("match param:CONTEXT")
    if span:
        assert (done.exit_code, done.output.count("context: ")) == (1, 0)
        assert last.startswith(f"refused: param:CONTEXT has {span}, which can be somebody's own")
    else:
        assert (done.exit_code, last) == (0, f"context: user_webapp_t:{value}")


def test_nobody_has_no_categories_of_his_own(site: Path) -> None:
    site.write_text(OWN)
    done = explained(site, "", user="")
    assert done.exit_code == 1
    assert "refused: rule site.map:1 has c{user}, and the request has no user" in done.output
    assert explained(site, "").output.endswith("context: staff_webapp_t:s0:c{user}\n")


def test_the_permissions_of_such_a_context_are_not_asked_about(site: Path) -> None:
    site.write_text(OWN)
    chain = open_sources(Settings(maps=(MapParam("CONTEXT"), site), param_domains=("user_webapp_t",)))
    query = Query("alice", "/nowhere/a.cgi", "", (("CONTEXT", "user_webapp_t:s0:c600"),))
    refused = explain_request(scene(), chain, query, MACHINE)
    assert (refused.rule, refused.answers) == ("param:CONTEXT", ())
    assert refused.refused.startswith("param:CONTEXT has c600.c600, which can be somebody's own")
    other = scene(bands=Bands(Band(0, 9), REQUEST_BAND))
    assert explain_request(other, chain, query, MACHINE).context.endswith(":s0:c600")
    own = explain_request(other, chain, query._replace(told=()), MACHINE)
    assert own.context.endswith(":s0:c8,c9, by way of example for s0:c{user}")
