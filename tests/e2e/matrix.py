"""The table case x web server: `python -m tests.e2e.matrix` writes it anew into contrib/WEB-SERVERS.md.

Decides nothing: every cell comes from a real request through a real web server. Read what changed before you commit it.
"""

import re
import shutil
import tempfile
from pathlib import Path

from tests.e2e.cases import ANSWERS, CASES, SHOW
from tests.e2e.conftest import USER, Place
from tests.servers import VARIANTS, Server
from tests.stack import TREE, Selcgi

PAGE = TREE / "contrib" / "WEB-SERVERS.md"
BEGIN, END = "<!-- table: python -m tests.e2e.matrix -->\n", "<!-- end of table -->\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def column(kind: type[Server]) -> list[str]:
    """What one server's clients get, in the order of CASES."""
    folder = Path(tempfile.mkdtemp(prefix="selcgi-matrix-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        place = Place(folder)
        place.script("show.cgi", SHOW)
        place.script("answers.cgi", ANSWERS)
        place.rules("* anon_webapp_t:s0 script=*/answers.cgi timeout=3s", "* anon_webapp_t:s0")
        options = ("--selinux=off", f"--map={place.map}", f"--root={place.cgi}", f"--script-user={USER}", "--workers=1")
        with (
            Selcgi(folder, *options, identity=f"proof:{place.proof()}") as selcgi,
            kind(folder, place.cgi, selcgi.socket) as server,
        ):
            return [cell(case.cell(server.port)) for case in CASES]
    finally:
        shutil.rmtree(folder)


def table(columns: dict[str, list[str]]) -> str:
    lines = [f"| case | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    rows = zip(*columns.values(), strict=True)
    lines += [f"| {case.name} | {' | '.join(row)} |" for case, row in zip(CASES, rows, strict=True)]
    return "\n".join(lines) + "\n"


def read_table() -> dict[str, dict[str, str]]:
    """The page's table: server -> case -> cell."""
    text = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [
        [one.strip().replace("\\|", "|") for one in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()
    ]
    (_, *names), _, *others = rows
    return {name: {row[0]: row[at] for row in others} for at, name in enumerate(names, 1)}


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    columns = {kind.name: column(kind) for kind in VARIANTS}
    PAGE.write_text(before + BEGIN + table(columns) + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
