"""What is kept of generated Verilog, and what must not be."""

import time
from pathlib import Path

import pytest

from systolith.gen import cache


def test_a_value_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    monkeypatch.setattr(cache, "_STARTED", time.time())
    assert cache.remember("thing", "a", lambda: [1]) == [1]
    assert cache.remember("thing", "a", lambda: [2]) == [1]
    assert cache.remember("thing", "b", lambda: [2]) == [2]


def test_an_edited_source_is_not_confused_with_the_code_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                 ) -> None:
    edited = tmp_path / "edited.py"
    edited.write_text("")
    monkeypatch.setattr(cache, "CACHE", tmp_path)
    monkeypatch.setattr(cache, "_files", lambda: [edited])
    monkeypatch.setattr(cache, "_STARTED", edited.stat().st_mtime - 1)
    assert cache.remember("thing", "a", lambda: [1]) == [1]
    assert cache.remember("thing", "a", lambda: [2]) == [2]
    assert not list(tmp_path.glob("*.json"))
