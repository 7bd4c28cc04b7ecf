"""contrib/man: what the generator makes of today's options, and what groff and mandoc find nothing wrong with."""

import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from selcgi.cli import man
from selcgi.cli.main import cli
from selcgi.mapping import grammar, options
from selcgi.mapping.rules import mistakes, parse

TREE = Path(__file__).resolve().parent.parent
FOLDER = TREE / "contrib" / "man"


def rendered(page: str) -> str:
    """As `man` shows it, on very long lines, without overstrikes."""
    words = ["groff", "-man", "-Tutf8", "-P-c", "-ww", "-rLL=1000n", str(FOLDER / page)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return re.sub(".\b", "", done.stdout)


def test_pages_are_what_the_generator_makes() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(man.PAGES)
    for page, make in man.PAGES.items():
        assert (FOLDER / page).read_text() == make(), "run: python -m selcgi.cli.man contrib/man"


@pytest.mark.parametrize("page", man.PAGES)
def test_mandoc_finds_nothing(page: str) -> None:
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", FOLDER / page], capture_output=True, text=True)
    found = [line for line in done.stdout.splitlines() if "missing date" not in line]  # they have a version
    assert found == []


def test_page_shows_every_command_and_option() -> None:
    text = rendered("selcgi.1")
    for path, command in man.every_command("selcgi", cli):
        assert f"\n   {path}\n" in text
        for option in [name for param in command.params for name in param.opts if name.startswith("--")]:
            assert re.search(rf"\n +{option}( |\n)", text), f"{path} {option}"
    assert "selcgi failures --json | jq 'select(.status >= 500)'\n" in text, "can be copied as it stands"


def test_page_of_the_mapping_shows_the_grammar_as_it_is() -> None:
    text = rendered("selcgi.map.5")
    for section in grammar.SECTIONS:
        assert f"\n{section.title.upper()}\n" in text
        for term, meaning in section.rows:
            assert re.search(rf"{re.escape(term)}\s+{re.escape(meaning)}\n", text)


def test_help_of_map_has_the_same_words() -> None:
    help_text = " ".join(CliRunner().invoke(cli, ["map", "--help"]).output.split())
    for section in grammar.SECTIONS:
        for row in section.rows:
            assert " ".join(row) in help_text


def test_grammar_names_every_option_once() -> None:
    terms = [term for section in grammar.SECTIONS for term, _ in section.rows if "=" in term]
    assert sorted(term.partition("=")[0] for term in terms) == sorted(options._KEYS)


def test_example_of_the_grammar_is_free_of_mistakes() -> None:
    assert mistakes(grammar.EXAMPLE, "example") == ()
    assert len(parse(grammar.EXAMPLE, "example")) == 5
