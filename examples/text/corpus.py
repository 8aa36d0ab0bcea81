"""English that every Python installation has: the language's manual and the docstrings of the standard library.

`python examples/text/corpus.py` says how much there is. Which Python it is changes the text a little.
"""

import ast
import inspect
import pydoc_data.topics
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HELD_OUT = 20
"""Every 20th document is kept away from training."""
LEAVE_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__phello__", "pydoc_data", "turtledemo"}
SHORTEST = 40
"""Texts of fewer characters may come again; longer ones count once, where they come first."""
LONG_LINE = 50
"""A line at least so long goes on in the next one of the same indent."""
UNDERLINE = re.compile(r"[^\n]+\n([*=\-~^])\1{2,}")
NO_PROSE = re.compile(r"^\s*(>>>|\.\.\.|[|#$])|::=| = |  \S.*  \S")
TABLE = re.compile(r"\s*(\||\+[-=]|[^\w\s\"']{4,}\s*$)")
"""Lines of tables, and rules."""
INDENT = re.compile(r" *(?P<item>[*-] |\d+\. )?")


@dataclass(frozen=True)
class Document:
    """A topic of the manual, or the docstrings of a module in the order of its lines."""

    name: str
    texts: tuple[str, ...]


def goes_on(line: str, following: str) -> bool:
    """Whether a line follows another in a paragraph of prose: both start at one column, the mark of a list apart."""
    first, second = (INDENT.match(text) for text in (line, following))
    assert first is not None and second is not None
    return (bool(following) and not NO_PROSE.search(line) and not NO_PROSE.search(following)
            and second["item"] is None and first.end() == second.end())


def unwrapped(text: str) -> str:
    """The text with the lines of each paragraph in one; code and short lines stay as they are, tables are left out."""
    lines: list[str] = []
    length = 0  # of the line before, as it stood in the source
    for line in text.expandtabs().splitlines():
        line = line.rstrip()
        if TABLE.match(line):
            continue
        if length >= LONG_LINE and goes_on(lines[-1], line):
            lines[-1] += ("" if lines[-1].endswith("-") else " ") + line.strip()
        else:
            lines.append(line)
        length = len(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def topics() -> Iterator[Document]:
    """The manual by topic, without headings."""
    for name, text in sorted(pydoc_data.topics.topics.items()):
        yield Document(name, (UNDERLINE.sub("", text),))


def docstrings() -> Iterator[Document]:
    """The standard library by module; its sources are parsed, none is imported."""
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py"), key=lambda path: path.relative_to(library).parts):
        parts = path.relative_to(library).parts
        if LEAVE_OUT.intersection(parts) or parts[-1].startswith("test_"):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # templates of lib2to3
            continue
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
        nodes.sort(key=lambda node: getattr(node, "lineno", 0))
        found = [ast.get_docstring(node, clean=False) for node in nodes]
        yield Document("/".join(parts), tuple(inspect.cleandoc(text) for text in found if text))


def documents() -> list[Document]:
    """All documents in a fixed order. A paragraph that has been before is left out."""
    known: set[str] = set()
    result = []
    for document in (*topics(), *docstrings()):
        texts = []
        for text in document.texts:
            kept = []
            for paragraph in unwrapped(text).split("\n\n"):
                key = " ".join(paragraph.split())
                if len(key) < SHORTEST or key not in known:
                    kept.append(paragraph)
                    known.add(key)
            if any(len(paragraph) >= SHORTEST for paragraph in kept):
                texts.append("\n\n".join(kept).strip("\n"))
        if texts:
            result.append(Document(document.name, tuple(texts)))
    return result


def split() -> tuple[list[str], list[str]]:
    """Texts to learn from, and texts of every 20th document, which only judge."""
    parts: tuple[list[str], list[str]] = ([], [])
    for number, document in enumerate(documents()):
        parts[number % HELD_OUT == HELD_OUT - 1].extend(document.texts)
    return parts


if __name__ == "__main__":
    for part, texts in zip(("training", "held out"), split(), strict=True):
        print(f"{part}: {len(texts)} texts, {sum(len(text.encode()) for text in texts)} bytes")
