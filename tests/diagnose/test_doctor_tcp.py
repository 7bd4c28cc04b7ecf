"""Listeners on TCP: may selcgi listen on a port of its own type, and may a web server connect to it?"""

from dataclasses import replace

from selcgi.diagnose.doctor import examine
from selcgi.diagnose.scene import Door
from tests.diagnose.shipped import policy, scene
from tests.diagnose.test_doctor import only
from tests.fakes import FakePolicy, Rule

BIND: dict[Rule, tuple[str, ...]] = {
    ("selcgi_t", "selcgi_t", "tcp_socket"): ("create", "bind", "listen", "accept"),
    ("selcgi_t", "selcgi_port_t", "tcp_socket"): ("name_bind",),
}
ON: dict[Rule, tuple[str, ...]] = {**BIND, ("httpd_t", "selcgi_port_t", "tcp_socket"): ("name_connect",)}
DOOR = Door("tcp:127.0.0.1:9140")


def off() -> FakePolicy:
    """The boolean's rules are not there, the type is."""
    return policy(types=["selcgi_port_t"])


def test_nothing_is_found_with_the_boolean_on() -> None:
    assert examine(scene(policy(more=ON), doors=(DOOR,))) == ()


def test_with_the_boolean_off_that_is_said_once_and_by_its_name() -> None:
    fault = only(scene(off(), doors=(DOOR,)))
    assert (fault.check, fault.severity, fault.fix) == ("tcp-listener", "fatal", "setsebool -P selcgi_from_tcp on")
    assert fault.where == ("tcp:127.0.0.1:9140",)
    assert "cannot listen on tcp:127.0.0.1:9140" in fault.symptom


def test_a_policy_without_the_type_lacks_the_module() -> None:
    asked = off()
    asked.types.discard("selcgi_port_t")
    assert only(scene(asked, doors=(DOOR,))).fix.startswith("semodule -i ")


def test_a_web_server_that_may_not_connect_to_the_port() -> None:
    fault = only(scene(policy(more=BIND), doors=(DOOR,)))
    assert fault.check == "web-server"
    assert "httpd_t -> selcgi_port_t : tcp_socket { name_connect } is denied" in fault.what
    assert fault.fix == "(call selcgi_web_server_by_tcp (httpd_t))"


def test_the_label_of_another_port_is_said_to_be_unknown() -> None:
    (note,) = examine(scene(policy(more=ON), doors=(replace(DOOR, address="tcp:[::1]:9142"),)))
    assert (note.check, note.severity) == ("tcp-listener", "note")
    assert note.fix.endswith("semanage port -a -t selcgi_port_t -p tcp 9142")
