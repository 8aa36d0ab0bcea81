"""Keeps what is slow to make and depends on nothing but the sources and a configuration: generated Verilog."""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from systolith.gen.files import make_folder, require_folder, write_whole
from systolith.sim.rtl.engine import CACHE

_ROOT = Path(__file__).resolve().parent.parent


@cache
def _sources() -> str:
    """A hash of everything that the Verilog is made from: the hardware's files, the emitter, Amaranth."""
    digest = hashlib.sha256(importlib.metadata.version("amaranth").encode())
    for path in (*sorted((_ROOT / "rtl").glob("*.py")), _ROOT / "gen" / "verilog.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def remember(what: str, key: str, make: Callable[[], Any]) -> Any:
    """`make()`, which must give what JSON can hold, or what it gave the last time for the same sources and `key`."""
    name = hashlib.sha256(f"{_sources()}\0{what}\0{key}".encode()).hexdigest()[:20]
    path = CACHE.resolve() / f"{what}-{name}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or not whole
        return json.loads(path.read_text())
    require_folder(path.parent)
    value = make()
    make_folder(path.parent)
    write_whole(path, json.dumps(value))
    return value
