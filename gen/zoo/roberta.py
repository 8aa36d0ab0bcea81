"""RoBERTa, base, with seeded random weights: all of it, and one layer by itself."""

from systolith.gen.float_graph import FloatGraph

from .bert import embeddings, layer
from .float_builder import Attention, FloatBuilder
from .transformer import Transformer

LAYERS, CHANNELS, HEADS, INNER, EPSILON = 12, 768, 12, 3072, 1e-5
WORDS, POSITIONS, PADDING = 50265, 514, 2
"""Positions are counted from behind the padding's."""


def _masked_word(b: FloatBuilder, tokens: int) -> FloatGraph:
    """The words' scores for the first token only: for all 128 they would be 6 million numbers."""
    how = Attention(HEADS, masked=True)
    x = embeddings(b, tokens, words=WORDS, positions=POSITIONS, skipped=PADDING, types=1, channels=CHANNELS,
                   epsilon=EPSILON)
    for number in range(LAYERS):
        x = layer(b, x, f"encoder.layer.{number}", how, INNER, EPSILON)
    x = b.function(b.linear(b.first(x, "first"), CHANNELS, "lm_head.dense"), "Gelu", "lm_head.gelu")
    x = b.linear(b.norm(x, "lm_head.layer_norm", EPSILON), WORDS, "lm_head.decoder")
    return b.graph({x: (1, WORDS)}, mask="attention_mask")


def _one_layer(b: FloatBuilder, tokens: int) -> FloatGraph:
    x = b.input("hidden_states", (tokens, 1, CHANNELS), (1, tokens, CHANNELS))
    y = layer(b, x, "layer", Attention(HEADS), INNER, EPSILON)
    return b.graph({y: (1, tokens, CHANNELS)})


roberta_base = Transformer("roberta-base", "RoBERTa base, scores of 50265 words for the first token", _masked_word, 128,
                           least=2, most=512)
roberta_layer = Transformer("roberta-layer", "one layer of RoBERTa base", _one_layer, 128, least=2, most=512)
