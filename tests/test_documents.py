"""Documents: generated ones are up to date, and links and commands of the others lead somewhere."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from systolith.gen.documents import DOCS, documents

ROOT = DOCS.parent
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("name", ["isa.md", "registers.md"])
def test_generated(name):
    assert (DOCS / name).read_text() == documents()[name], f"run `python -m systolith.gen.documents` for docs/{name}"


def test_the_picture_is_of_the_run_in_the_table():
    """Small, whole, for light and dark pages, and of as many cycles as the page and the README say."""
    text = (DOCS / "transformer-timeline.svg").read_text()
    assert len(text) < 60_000 and "prefers-color-scheme: dark" in text
    shown = [each.text for each in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert {"move_in", "array", "vector", "softmax", "norm", "attention.scores", "LayerNorm"} <= set(shown)
    title, cycles = re.fullmatch(r"(.*): cycles [0-9,]+ to [0-9,]+ of ([0-9,]+)", shown[0]).groups()
    assert title == "encoder.layer.2 of minilm on edge (16 x 16), verilator"
    for page in (DOCS / "transformers.md", ROOT / "README.md"):
        assert cycles in page.read_text(), f"draw it again, as docs/transformers.md says; {page.name} has other cycles"


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="there is no C++ compiler")
def test_readme_commands_work(tmp_path):
    """The block under "Using it", in its order, as a user types it."""
    block = (ROOT / "README.md").read_text().split("## Using it")[1].split("```")[1].strip().splitlines()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                                "SYSTOLITH_CACHE": str(ROOT / "build")}
    assert len(block) > 5
    for command in block:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}: {done.stderr}"


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
