"""RoBERTa, base, with seeded random weights: its layers, the same with scores of words, and one layer by itself."""

from systolith.gen.float_graph import FloatGraph

from .bert import embeddings, layer
from .float_builder import Attention, FloatBuilder
from .transformer import Transformer

LAYERS, CHANNELS, HEADS, INNER, EPSILON = 12, 768, 12, 3072, 1e-5
WORDS, POSITIONS, PADDING = 50265, 514, 2
"""Positions are counted from behind the padding's."""


def _encoded(b: FloatBuilder, tokens: int, layers: int) -> str:
    """The tokens behind so many layers."""
    x = embeddings(b, tokens, words=WORDS, positions=POSITIONS, skipped=PADDING, types=1, channels=CHANNELS,
                   epsilon=EPSILON)
    for number in range(layers):
        x = layer(b, x, f"encoder.layer.{number}", Attention(HEADS, masked=True), INNER, EPSILON)
    return x


def _encoder(b: FloatBuilder, tokens: int, layers: int) -> FloatGraph:
    return b.graph({_encoded(b, tokens, layers): (1, tokens, CHANNELS)}, mask="attention_mask")


def _masked_word(b: FloatBuilder, tokens: int, layers: int) -> FloatGraph:
    """The words' scores for the first token only: for all 128 they would be 6 million numbers."""
    x = b.first(_encoded(b, tokens, layers), "first")
    x = b.function(b.linear(x, CHANNELS, "lm_head.dense"), "Gelu", "lm_head.gelu")
    x = b.linear(b.norm(x, "lm_head.layer_norm", EPSILON), WORDS, "lm_head.decoder")
    return b.graph({x: (1, WORDS)}, mask="attention_mask")


def _one_layer(b: FloatBuilder, tokens: int, _: int) -> FloatGraph:
    x = b.input("hidden_states", (tokens, 1, CHANNELS), (1, tokens, CHANNELS))
    y = layer(b, x, "layer", Attention(HEADS), INNER, EPSILON)
    return b.graph({y: (1, tokens, CHANNELS)})


roberta_base = Transformer("roberta-base", "RoBERTa base, a vector for each token", _encoder, 128, least=2, most=512,
                           depth=LAYERS)
roberta_mlm = Transformer("roberta-mlm", "RoBERTa base, scores of 50265 words for the first token", _masked_word, 128,
                          least=2, most=512, depth=LAYERS)
roberta_layer = Transformer("roberta-layer", "one layer of RoBERTa base", _one_layer, 128, least=2, most=512)
