"""How much of the sentence encoder's meaning is left in integers: its vectors beside those of the float network."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from systolith.gen.zoo.minilm import SAMPLES

from .encoder import SentenceEncoder
from .sentences import sentences

SENTENCES = 200
"""Of the standard library's, none of which it was calibrated on."""


@dataclass(frozen=True)
class Accuracy:
    """Of the vectors of many sentences."""

    sentences: int
    mean: float
    """Cosine of a vector and the float network's"""
    lowest: float
    agreement: float
    """Part of the sentences whose nearest other one is the same"""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (f"{self.sentences} sentences: cosine to float {self.mean:.4f} on average, {self.lowest:.4f} at least; "
                f"nearest neighbour the same for {self.agreement:.1%}")


def accuracy(encoder: SentenceEncoder, count: int = SENTENCES,
             progress: Callable[[str], None] = lambda text: None) -> Accuracy:
    """Runs the encoder on sentences of Python's standard library."""
    made, real = [], []
    for number, text in enumerate(sentences()[SAMPLES:SAMPLES + count]):
        (one,) = encoder.encode([text])
        made.append(one.embedding)
        real.append(one.real)
        progress(f"{number + 1} of {count}")
    return compared(np.array(made), np.array(real))


def compared(made: np.ndarray[Any, Any], real: np.ndarray[Any, Any]) -> Accuracy:
    """Two sets of vectors of length 1."""
    cosines = (made * real).sum(axis=1)
    nearest = []
    for each in (made, real):
        alike = each @ each.T
        np.fill_diagonal(alike, -2)
        nearest.append(alike.argmax(axis=1))
    return Accuracy(len(made), float(cosines.mean()), float(cosines.min()), float((nearest[0] == nearest[1]).mean()))
