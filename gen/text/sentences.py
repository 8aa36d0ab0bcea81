"""Sentences that every Python has: out of the docstrings of its standard library."""

import ast
import re
import sysconfig
from functools import cache
from pathlib import Path

import numpy as np

SHORTEST, LONGEST = 4, 90
"""Words of a sentence."""


@cache
def sentences() -> tuple[str, ...]:
    """All of them, in an order that is always the same for one version of Python and its modules, at random otherwise.
    """
    found: set[str] = set()
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-z]*.py")):
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found |= _of(ast.get_docstring(node) or "")
    return tuple(np.random.default_rng(1).permutation(sorted(found)).tolist())


def _of(text: str) -> set[str]:
    """The sentences of a docstring: what is no code, table or list."""
    out = set()
    for paragraph in re.split(r"\n\s*\n", text):
        if re.search(r"^(\s|>>>)|[=<>|{}*`_#]{2}", paragraph, re.MULTILINE):
            continue
        for sentence in re.split(r"(?<=[.!?])\s+", " ".join(paragraph.split())):
            if SHORTEST <= len(sentence.split()) <= LONGEST and sentence[:1].isupper() and sentence[-1] in ".!?":
                out.add(sentence)
    return out
