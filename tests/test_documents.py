"""Documents: generated ones are up to date, and links and commands of the others lead somewhere."""

import re
import subprocess
import sys

import pytest

from systolith.gen.documents import DOCS, documents

ROOT = DOCS.parent
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("name", ["isa.md", "registers.md"])
def test_generated(name):
    assert (DOCS / name).read_text() == documents()[name], f"run `python -m systolith.gen.documents` for docs/{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page):
    """Every `systolith COMMAND` of a page is a command, and has the options that the page gives it."""
    for command, rest in re.findall(r"^\s*(?:\$ )?systolith ([a-z]+)([^\n]*)$", page.read_text(), re.MULTILINE):
        text = subprocess.run([sys.executable, "-m", "systolith", command, "--help"], capture_output=True, text=True,
                              env={"COLUMNS": "200", "PATH": ""}, check=True).stdout
        for option in re.findall(r"(?<!\S)(--?[a-z-]+)", rest):
            assert re.search(rf"(?<!\S){option}\b", text), f"{page.name}: systolith {command} has no {option}"
