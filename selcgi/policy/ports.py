"""Types of TCP ports: selcgi's own, and which one the policy gives to a port, by what `semanage port -l` prints.

Decides what counts as a type of the port's own: not one of the broad ranges that every port without a service is in,
since who may connect to such a type may connect to thousands. Pure: text in, types out. Used by cli/policy.py; the own
ones by system/sockets.py and diagnose/surroundings.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_UNPRIVILEGED = 1024  # those below are for CAP_NET_BIND_SERVICE, which selcgi never has: ip(7)
_RANGES = {"port_t", "reserved_port_t", "hi_reserved_port_t", "unreserved_port_t", "ephemeral_port_t"}


@dataclass(frozen=True, slots=True)
class OwnPort:
    """What selcgi listens on by TCP: the type, the port that has it in selcgi.cil, and the boolean that it takes."""

    type: str
    number: int
    boolean: str

    def cure(self, number: int) -> str:
        """What lets selcgi listen on a port of this kind."""
        if number < _UNPRIVILEGED:
            return f"choose a port of {_UNPRIVILEGED} or more"
        label = f", and semanage port -a -t {self.type} -p tcp {number}" if number != self.number else ""
        return f"setsebool -P {self.boolean} on{label}"


REQUESTS = OwnPort("selcgi_port_t", 9140, "selcgi_from_tcp")
METRICS = OwnPort("selcgi_metrics_port_t", 9141, "selcgi_serve_metrics")


@dataclass(frozen=True, slots=True)
class Port:
    """A port to connect to. `type`: the policy's own for it, empty when it has none. `others` have that type, too."""

    number: int
    type: str = ""
    others: str = ""


def find(number: int, lines: Iterable[str]) -> Port:
    """`lines` are those of `semanage port -l -n`: TYPE, PROTOCOL, ports or ranges with commas. The narrowest wins."""
    found = []
    for line in lines:
        words = line.replace(",", " ").split()
        if len(words) < 3 or words[1] != "tcp" or words[0] in _RANGES:
            continue
        widths = [width for text in words[2:] if (width := _width(text, number))]
        if widths:
            others = ", ".join(text for text in words[2:] if text != str(number))
            found.append((min(widths), Port(number, words[0], others)))
    return min(found, key=lambda pair: pair[0], default=(0, Port(number)))[1]


def _width(text: str, number: int) -> int:
    """How many ports the range has if this one is in it, else 0."""
    first, _, last = text.partition("-")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        return 0
    return high - low + 1 if low <= number <= high else 0
