"""What `systolith zoo minilm` shows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from systolith.gen.errors import UserError
from systolith.gen.report import console
from systolith.gen.run import check_engine
from systolith.gen.zoo.minilm import minilm
from systolith.rtl.config import Config

from .accuracy import accuracy
from .encoder import Encoded, SentenceEncoder

NAME = minilm.name
FIRST = 4
"""Numbers of a vector that are shown."""


def encode(texts: Sequence[str], engine: str, config: Config, measured: bool,
           note: Callable[..., None]) -> dict[str, Any]:
    """Prints the sentences' vectors and how alike they are, with `measured` the accuracy too; everything for JSON."""
    check_engine(engine)
    if not texts and not measured:
        raise UserError(f"give sentences to encode: systolith zoo {NAME} \"A sentence.\" \"Another one.\"")
    encoder = SentenceEncoder(engine, config, progress=note)
    try:
        found = encoder.encode(texts)
        result = accuracy(encoder, progress=lambda text: note(text, end="\r")) if measured else None
    finally:
        encoder.close()
    alike = cosines(found)
    if found:
        _show(found, alike, engine)
    if result:
        print(result)
    return {"network": NAME, "engine": engine, "sentences": [one.record() for one in found], "cosines": alike.tolist(),
            "accuracy": result.record() if result else None}


def cosines(found: Sequence[Encoded]) -> np.ndarray[Any, Any]:
    """Of each sentence and each other."""
    vectors = np.array([one.embedding for one in found], np.float32)
    return vectors @ vectors.T if len(found) else np.zeros((0, 0), np.float32)


def _show(found: Sequence[Encoded], alike: np.ndarray[Any, Any], engine: str) -> None:
    counted = ["cycles"] if found[0].cycles is not None else []
    sentences = Table("", "sentence", "tokens", f"first {FIRST} of {len(found[0].embedding)} numbers",
                      "cosine to float", *counted, title=f"{NAME} on {engine}", title_justify="left")
    for number, one in enumerate(found):
        sentences.add_row(str(number + 1), one.text, str(len(one.ids)),
                          " ".join(f"{value:+.4f}" for value in one.embedding[:FIRST]), f"{one.cosine:.4f}",
                          *([f"{one.cycles:,}"] if one.cycles is not None else []))
    console().print(sentences)
    if len(found) > 1:
        matrix = Table("", *(str(number + 1) for number in range(len(found))), title="cosines", title_justify="left")
        for number, row in enumerate(alike):
            matrix.add_row(str(number + 1), *(f"{value:.3f}" for value in row))
        console().print(matrix)
