"""What the kernel refuses a warm interpreter is in the line of the request that waits for it."""

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import run_as
from tests.enforcing.conftest import Claims
from tests.enforcing.listening import listening
from tests.enforcing.warm import rules, serving
from tests.stack import wait_until

pytestmark = pytest.mark.enforcing

BOBS = site.OWN["bob"][0]
READS_AT_ITS_START = f"""
DATA = open({str(BOBS)!r}).read()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [DATA.encode()]
"""


def test_a_module_that_is_refused_a_file_says_which(avcs: Claims) -> None:
    """Its interpreter can't serve anybody, and the answer 503 alone would not say why."""
    path = site.script("early.wsgi", READS_AT_ITS_START)
    with listening(), serving(text=rules("warm=wsgi")) as selcgi:
        wait_until("the listener is heard", lambda: "are told by the denial listener" in selcgi.log())
        assert run_as(selcgi, path, "alice").status == 503
        wait_until("its line", lambda: len(selcgi.entries()) == 1)
        entry = selcgi.entry()
    denied = avcs.claim_all_of("user_zygote_t")
    assert denied, "the kernel has said so"
    (sentence,) = entry["denied"]
    assert sentence.startswith("the warm interpreter of early.wsgi (user_zygote_t:s0) wanted to "), sentence
    assert "(user_webapp_rw_t:s0" in sentence
    assert "no rule allows it" in sentence
    assert "do this for each request, not where modules are loaded" in sentence
