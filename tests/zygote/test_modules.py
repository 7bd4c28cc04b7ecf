"""What the modules of the standard library know in a warm child is what they would know after a fresh start.

All values of a simple kind that modules hold are compared: what one notes at its import (a moment, a folder, a pid, a
number that shall be nobody else's) is found without being known by name.
"""

import json
from pathlib import Path

from tests.stack import TREE
from tests.zygote.test_script import CHILD, outcome

MODULES = (
    *("logging.handlers", "random", "uuid", "tempfile", "decimal", "ssl", "subprocess", "multiprocessing.pool"),
    *("multiprocessing.managers", "concurrent.futures.process", "asyncio", "email.utils", "http.server", "secrets"),
    *("http.cookiejar", "urllib.request", "hashlib", "hmac", "gettext", "zoneinfo", "sqlite3", "shelve", "getpass"),
    *("platform", "selectors", "queue", "sched", "linecache", "tracemalloc", "importlib.metadata", "webbrowser"),
    *("xml.etree.ElementTree", "wsgiref.handlers", "mimetypes", "faulthandler", "resource", "syslog", "zipfile"),
    *("smtplib", "ipaddress", "statistics", "ctypes.util", "configparser", "argparse", "unittest", "pdb", "cProfile"),
    *("timeit", "readline", "calendar", "fileinput", "netrc", "runpy", "xmlrpc.server", "mailbox", "pty", "locale"),
)
PYTHON = "/usr/bin/python3"
TEXT = f"""#!{PYTHON}
import importlib, json, sys
for name in {MODULES}:
    importlib.import_module(name)

def is_simple(value):
    if isinstance(value, (tuple, list)):
        return all(map(is_simple, value))
    return value is None or isinstance(value, (bool, int, float, str, bytes))

print(json.dumps({{
    f"{{name}}.{{key}}": repr(value)
    for name, module in sys.modules.items()
    for key, value in vars(module).items()
    if name not in ("__main__", "__mp_main__") and is_simple(value)
}}))
"""


def test_they_know_the_same(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()  # of PYTHONPATH
    script = tmp_path / "script.py"
    script.write_text(TEXT)
    warm_line = [PYTHON, "-IS", str(CHILD), str(TREE), ",".join(MODULES), str(script)]
    lines = [PYTHON, str(script)], [PYTHON, str(script)], warm_line
    first, second, warm = (json.loads(outcome(line, tmp_path)[1]) for line in lines)
    same = {name: value for name, value in first.items() if second[name] == value}
    assert len(same) > 5000
    assert {name: (value, warm.get(name)) for name, value in same.items() if warm.get(name) != value} == {}
    drawn = {name: value for name, value in first.items() if name not in same}
    assert len(drawn) < 30, "what differs between any two"
