"""What README.md has a reader do as root, from the installation to its end, on a fresh disk of the guest, enforcing.

Left out is what needs the network (the image has the packages, pip finds its wheels there) and a keyboard (passwords).
Only the README's own restorecon labels what it makes.
"""

import re
import textwrap
from pathlib import Path

import pytest

from tests.guest import machine
from tests.guest.machine import Job

pytestmark = pytest.mark.guest

INSTALL = "Install it on a host with SELinux"
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
mkdir -p /etc/systemd/system/selcgi.service.d
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
# The application of the section about warm interpreters; what `policy new` prints is tested elsewhere.
SHOP = """
cat > shop.py <<'END'
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [("shop of " + environ["REMOTE_USER"] + environ["PATH_INFO"] + "\\n").encode()]
END
{commands}
mkdir -p /srv/shop/orders /etc/systemd/system/selcgi.service.d /etc/nginx/selcgi.d
cat > /etc/systemd/system/selcgi.service.d/override.conf <<'END'
{unit}
END
cat - /etc/selcgi/site.map > site.map <<'END'
{map}
END
cp site.map /etc/selcgi/
cat > /etc/nginx/selcgi.d/shop.conf <<'END'
{nginx}
END
systemctl daemon-reload
systemctl restart selcgi
systemctl reload nginx
sleep 1
curl -sS -u alice:secret http://localhost/shop/basket
curl -sS -u alice:secret http://localhost/cgi-bin/report.cgi
"""
# What is left of it when it is gone. The policy stays: the guest's own module needs it.
GONE = """
set -x
semanage fcontext -d '/srv/data/user/alice(/.*)?'
{commands}
curl -sS -o /dev/null -w "without: %{{http_code}}\\n" http://localhost/cgi-bin/report.cgi || true
ps -eZ | grep -E 'selcgi|webapp' || echo no process
spared="-path /root -o -path /mnt -o -path /usr/local/lib/guest -o -path /var/lib/selinux"
find / -xdev \\( $spared \\) -prune -o -name '*selcgi*' -print
echo that is all
"""
AFTER = """
runuser -u selcgi -- selcgi --version
runuser -u selcgi -- selcgi status
set +x
echo "event loop: $(cat /proc/$(systemctl show -P MainPID selcgi)/task/*/children | tr ' ' '\\n' |
    sed 's:.*:/proc/&/maps:' | xargs grep -h uvloop | head -1)"
"""


def block_of(title: str, kind: str = "sh") -> str:
    """The commands of a section, or what it says to write into a file."""
    section = README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"^ *```{kind}\n(.*?)```", section, re.DOTALL | re.MULTILINE)
    return textwrap.dedent(block)


def commands() -> str:
    """Those of the installation, with a password where the page has a prompt."""
    block = block_of(INSTALL)
    assert "apt-get install" in block
    block = re.sub(r"(?m)^apt-get .*\n", "", block)
    return (
        block.replace("htpasswd -B ", "htpasswd -bB ")
        .replace("passwords alice", "passwords alice secret")
        .replace("-u alice", "-sS -u alice:secret")
    )


def shop() -> str:
    warm = "Warm interpreters"
    rules = block_of(warm, r"\n# /etc/selcgi/site\.map")
    return SHOP.format(commands=block_of(warm), unit=block_of(INSTALL, "ini"), map=rules, nginx=block_of(warm, "nginx"))


def test_the_installation_works_as_the_page_says() -> None:
    files = {"tree.tar": machine.tree()}
    command = BEFORE + commands() + block_of("The mapping") + WRITE + WARM + AFTER + shop()
    command += GONE.format(commands=re.sub(r"semodule .*\n", "", block_of("Upgrade, uninstall")))
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
    assert "\nshop of alice/basket\nreport for alice:" in outcome.output, outcome.output
    assert "\nwithout: 000" in outcome.output, outcome.output
    assert "\nno process\n" in outcome.output, outcome.output
    assert "-name '*selcgi*' -print\n+ echo that is all\n" in outcome.output, outcome.output
    assert "uvloop" in outcome.output.partition("event loop: ")[2], outcome.output
