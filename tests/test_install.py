"""The installation of README.md, command by command, on a fresh disk of the guest, with systemd, in enforcing mode.

Left out is what needs the network (the image has the packages, pip finds its wheels there) and a keyboard (passwords).
Only the README's own restorecon labels what it makes.
"""

import re
from pathlib import Path

import pytest

from tests.guest import machine
from tests.guest.machine import Job

pytestmark = pytest.mark.guest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
# The search path is a login's: /etc/profile.
BEFORE = """set -e
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mkdir /root/selcgi && tar -x -C /root/selcgi -f /mnt/out/tree.tar && cd /root/selcgi
userdel selcgi
rm -rf /opt/selcgi /etc/selcgi /srv/cgi
export PIP_NO_INDEX=1 PIP_FIND_LINKS=/opt/wheels PIP_QUIET=1
set -x
"""
# Then a script that runs warm, by the installed program, with the label that restorecon gave it.
WARM = r"""
printf '#!/usr/bin/python3\nprint("Content-Type: text/plain\\n\\nwarm", __name__)\n' > /srv/cgi/warm.py
chmod 755 /srv/cgi/warm.py
setsebool selcgi_webapp_warm on
mkdir /etc/systemd/system/selcgi.service.d
printf '[Service]\nEnvironment=SELCGI_SERVE_WARM=/srv/cgi/warm.py\n' > /etc/systemd/system/selcgi.service.d/warm.conf
systemctl daemon-reload
systemctl restart selcgi
curl -sS -u alice:secret http://localhost/cgi-bin/warm.py
echo "first line: $(head -n 1 /opt/selcgi/bin/selcgi-zygote)"
ps -eZ | grep selcgi-zygote
"""
# And a folder that a script writes to, made while selcgi runs, as the page says.
WRITE = r"""
cat > /srv/cgi/write.cgi <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\n\n'
echo kept > /srv/data/user/alice/it && cat /srv/data/user/alice/it
END
chmod 755 /srv/cgi/write.cgi
curl -sS -u alice:secret http://localhost/cgi-bin/write.cgi
"""
AFTER = """
runuser -u selcgi -- selcgi --version
runuser -u selcgi -- selcgi status
set +x
echo "event loop: $(cat /proc/$(systemctl show -P MainPID selcgi)/task/*/children | tr ' ' '\\n' |
    sed 's:.*:/proc/&/maps:' | xargs grep -h uvloop | head -1)"
"""


def block_of(title: str) -> str:
    """The commands of a section."""
    section = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return str(block)


def commands() -> str:
    """Those of the installation, with a password where the page has a prompt."""
    block = block_of("Install it on a host with SELinux")
    assert "apt-get install" in block
    block = re.sub(r"(?m)^apt-get .*\n", "", block)
    return (
        block.replace("htpasswd -B ", "htpasswd -bB ")
        .replace("passwords alice", "passwords alice secret")
        .replace("-u alice", "-sS -u alice:secret")
    )


def test_the_installation_works_as_the_page_says() -> None:
    files = {"tree.tar": machine.tree()}
    command = BEFORE + commands() + block_of("The mapping") + WRITE + WARM + AFTER
    job = Job(command, seconds=280, share_tree=False, files=files, systemd=True, no_denials=True)
    outcome = machine.run(job)
    assert outcome.code == 0, outcome.output
    assert "\nreport for alice:" in outcome.output, outcome.output
    assert "system_u:system_r:selcgi_t:s0" in outcome.output, outcome.output
    assert "\nkept\n" in outcome.output, outcome.output
    assert "\nselcgi, version " in outcome.output, outcome.output
    assert "\nwarm: requests x 1" in outcome.output, outcome.output
    assert "warm __main__" in outcome.output, outcome.output
    assert "first line: #!/usr/bin/python3 -IS" in outcome.output, outcome.output
    assert "system_u:system_r:user_zygote_t:s0" in outcome.output, outcome.output
    assert "uvloop" in outcome.output.partition("event loop: ")[2], outcome.output
