"""The files for packagers say what the CIL says: they are written from it, and must be current."""

import re
from itertools import pairwise

import pytest

from tests import refpolicy

PLACE = refpolicy.SOURCE / "refpolicy"


@pytest.mark.parametrize("name", sorted(refpolicy.write()))
def test_the_files_for_packagers_are_current(name: str) -> None:
    assert (PLACE / name).read_text() == refpolicy.write()[name], (
        "run: python -m tests.refpolicy contrib/selinux/refpolicy"
    )


def test_nothing_of_the_cil_is_forgotten() -> None:
    """Every macro is an interface, every block a template, every declaration there, every constraint and port."""
    statements = [one for _, files in refpolicy.MODULES.values() for one in refpolicy.read(files)]
    told = "".join(refpolicy.write().values())
    kinds = {"macro": "interface(`{}'", "block": "template(`{}'", "type": "type {};", "typeattribute": "attribute {};"}
    kinds |= {"boolean": "gen_tunable({},", "portcon": "(portcon {}"}
    for one in statements:
        if isinstance(one, list) and one[0] in kinds and one[1] != "selcgi_far_port":
            assert kinds[one[0]].format(one[1]) in told, one[:2]
    assert "allow $1 { port_type -selcgi_port_t -selcgi_metrics_port_t }:tcp_socket { name_connect };" in told
    assert told.count("gen_context(") == sum(one[0] == "filecon" for one in statements)
    assert told.count("(mlsconstrain ") == sum(one[0] == "mlsconstrain" for one in statements) == 1


def test_no_comment_speaks_of_the_cil() -> None:
    """And no heading stands over nothing: the next line with no # is before the next one."""
    for name, text in refpolicy.write().items():
        if not name.endswith(".cil"):
            assert re.search(r"\((call|block|macro|optional|allow) ", text) is None, name
            assert "<summary>--" not in text
            lines = [line for line in text.splitlines() if line.startswith("# ----") or not line.startswith("#")]
            assert [pair for pair in pairwise(lines) if all(one.startswith("# ----") for one in pair)] == []
