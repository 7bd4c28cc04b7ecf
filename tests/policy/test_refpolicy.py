"""The files for packagers say what the CIL says: they are written from it, and must be current."""

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
    statements = [one for name in refpolicy.FILES for one in refpolicy.parse((refpolicy.SOURCE / name).read_text())]
    told = "".join(refpolicy.write().values())
    kinds = {"macro": "interface(`{}'", "block": "template(`{}'", "type": "type {};", "typeattribute": "attribute {};"}
    kinds |= {"boolean": "gen_tunable({},", "portcon": "(portcon {}"}
    for one in statements:
        if isinstance(one, list) and one[0] in kinds and one[1] != "selcgi_far_port":
            assert kinds[one[0]].format(one[1]) in told, one[:2]
    assert "allow $1 { port_type -selcgi_port_t -selcgi_metrics_port_t }:tcp_socket { name_connect };" in told
    assert told.count("gen_context(") == sum(one[0] == "filecon" for one in statements)
    assert told.count("(mlsconstrain ") == sum(one[0] == "mlsconstrain" for one in statements) == 1
