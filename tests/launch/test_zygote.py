"""A zygote as its worker sees it: what it leaves behind when it is closed."""

import os
from typing import cast

from selcgi.launch.zygote import Application, Zygote
from selcgi.serve.poller import Poller
from selcgi.system.leaves import Leaves
from selcgi.system.selinux import NoLabels


def test_who_gets_the_number_of_its_log_is_heard() -> None:
    """It has ended, and its last lines are not read yet."""
    poller, heard = Poller(), []
    zygote = Zygote(Application(b"/srv/x.cgi", None, None, ""), (0, 0, 0), 0, NoLabels(), cast(Leaves, None))
    zygote.watch(poller, zygote.look, zygote.read_log)
    number = zygote.log
    zygote.kill("on purpose")
    zygote.close()
    source, entry = os.pipe()
    os.dup2(source, number)
    poller.add_reader(number, lambda: heard.append(os.read(number, 10)))
    os.write(entry, b"news")
    poller.dispatch()
    assert heard == [b"news"]
    poller.close()
    for descriptor in {source, entry, number}:
        os.close(descriptor)
