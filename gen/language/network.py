"""The language model as a network: the graph of a whole sequence, quantised, and the one that adds a token."""

from collections.abc import Iterable, Sequence

import numpy as np

from systolith.gen.float_graph import FloatGraph
from systolith.gen.graph import Graph
from systolith.gen.passes import run_passes
from systolith.gen.quantize import quantise
from systolith.gen.zoo.decoder import decoder_layer, turns
from systolith.gen.zoo.float_builder import Attention, FloatBuilder
from systolith.gen.zoo.weights import Array

from .model import LanguageModel

TOKENS, LOGITS = "tokens", "logits"
_NAMES = {LOGITS: "embedding", "input_norm": "attention_norm", "post_norm": "mlp_norm"}
"""Of weights in the model, where a layer is called otherwise."""


class _Weights:
    """`Weights` of a language model."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def _find(self, name: str) -> Array:
        first, *rest = name.split(".")
        if first != "blocks":
            return np.asarray(getattr(self._model, _NAMES.get(first, first)))
        return np.asarray(getattr(self._model.blocks[int(rest[0])], _NAMES.get(rest[-1], rest[-1])))

    def linear(self, name: str, outputs: int, inputs: int, gain: float) -> tuple[Array, Array]:
        return self._find(name), np.zeros(outputs, np.float32)

    def norm(self, name: str, channels: int) -> tuple[Array, Array]:
        gain = self._find(name)
        return gain, np.zeros_like(gain)

    def table(self, name: str, rows: int, channels: int, size: float) -> Array:
        return self._find(name)


def float_graph(model: LanguageModel, tokens: int | None = None) -> FloatGraph:
    """The network for a sequence of so many tokens, else as many as the model reads: int32 tokens [tokens, 1, 1] to the
    logits [tokens, 1, vocabulary] of the token after each."""
    count = model.context if tokens is None else tokens
    b = FloatBuilder("language-model", _Weights(model))
    x = b.embedding(b.input(TOKENS, (count, 1, 1), (1, count)), model.vocabulary, model.width, "embedding")
    turned = turns(b, count, model.head_width, model.rotary_base)
    for number in range(len(model.blocks)):
        x = decoder_layer(b, x, f"blocks.{number}.", Attention(model.heads, causal=True), turned, model.hidden,
                          model.epsilon)
    x = b.norm(x, "norm", model.epsilon, rms=True)
    return b.graph({b.linear(x, model.vocabulary, LOGITS, bias=False): (1, count, model.vocabulary)})


def quantised(model: LanguageModel, texts: Iterable[Sequence[int]]) -> Graph:
    """The network in integers, calibrated on texts of as many tokens as it reads; the logits are int16."""
    graph = run_passes(float_graph(model), verify=False)  # the tests do it, for few tokens
    samples = ({TOKENS: np.array(text, np.int32).reshape(-1, 1, 1)} for text in texts)
    return quantise(graph, samples, least_error=True, wide=[LOGITS])
