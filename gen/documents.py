"""Writes the documents that code describes best: `python -m systolith.gen.documents`."""

from pathlib import Path

from systolith.gen.presets import preset
from systolith.rtl import isa, register_map
from systolith.rtl.machine import Machine

DOCS = Path(__file__).resolve().parent.parent / "docs"


def documents() -> dict[str, str]:
    """File names and their texts."""
    counters = [name.replace(".", "__") for name in Machine(preset("edge")).counter_names]
    return {"isa.md": isa.markdown(), "registers.md": register_map.markdown(counters)}


if __name__ == "__main__":
    for name, text in documents().items():
        (DOCS / name).write_text(text)
        print(DOCS / name)
