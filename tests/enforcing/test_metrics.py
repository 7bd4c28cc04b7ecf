"""Numbers for Prometheus by TCP: refused with what to do, had by a boolean, and out of every script's reach."""

import subprocess
import urllib.request

import pytest

from tests.enforcing import site
from tests.enforcing.attempts import attempt
from tests.enforcing.conftest import Claims
from tests.enforcing.test_switches import port as connects
from tests.enforcing.test_switches import switched_on

pytestmark = pytest.mark.enforcing

PORT = 9141
BOOLEAN = "selcgi_serve_metrics"


def refusal(port: int) -> str:
    """What `selcgi serve` says at a start that is refused."""
    site.run("install", "-d", "-o", "selcgi", site.RUNTIME)
    site.run("restorecon", "-F", site.RUNTIME)
    words = [*site.as_service(), "serve", f"--listen=unix:{site.RUNTIME}/metrics.sock", "--cgroup=none"]
    words += [f"--map={site.MAP}", f"--root={site.CGI}", f"--metrics=127.0.0.1:{port}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stdout + done.stderr
    return done.stderr


def test_without_the_boolean_it_does_not_start_and_names_it(avcs: Claims) -> None:
    assert refusal(PORT).endswith(f"can't be opened: Permission denied; setsebool -P {BOOLEAN} on\n")
    avcs.expect("selcgi_t", "selcgi_t", "tcp_socket", "create")


def test_another_port_needs_its_label_too(avcs: Claims) -> None:
    label = "semanage port -a -t selcgi_metrics_port_t -p tcp 9142"
    with switched_on(BOOLEAN):
        assert refusal(9142).endswith(f"; setsebool -P {BOOLEAN} on, and {label}\n")
    avcs.expect("selcgi_t", "unreserved_port_t", "tcp_socket", "name_bind")


def test_the_port_of_one_boolean_is_not_the_other_ones(avcs: Claims) -> None:
    with switched_on("selcgi_from_tcp"):
        assert f"setsebool -P {BOOLEAN} on" in refusal(PORT)
    avcs.expect("selcgi_t", "selcgi_metrics_port_t", "tcp_socket", "name_bind")


def test_with_it_numbers_are_told_and_no_script_connects(avcs: Claims) -> None:
    """Not even one that may connect to every other port."""
    with switched_on(BOOLEAN), site.serving("--cgroup=none", f"--metrics=127.0.0.1:{PORT}") as selcgi:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as answer:
            assert b"\nselcgi_workers 1\n" in answer.read()
        with switched_on("selcgi_webapp_connect_network"):
            tried = attempt(selcgi, "alice", connects(PORT), connects(9140), connects(79))
    assert tried == ["EACCES", "EACCES", "ECONNREFUSED"]
    for target in ("selcgi_metrics_port_t", "selcgi_port_t"):
        avcs.expect("user_webapp_t", target, "tcp_socket", "name_connect")
