"""One block of a language model as they are now, with seeded random weights."""

import numpy as np

from systolith.gen.float_graph import FloatGraph

from .float_builder import Attention, FloatBuilder
from .transformer import Transformer

CHANNELS, HEADS, GROUPS, INNER, EPSILON, BASE = 512, 8, 2, 1408, 1e-5, 10000.0


def _angles(b: FloatBuilder, tokens: int, size: int) -> tuple[str, str]:
    """cos and sin of the positions, [tokens, 1, size]: both halves turn alike."""
    half = size // 2
    angles = np.tile(np.arange(tokens)[:, None] * BASE ** (-np.arange(half) / half), 2)[:, None]
    return (b.constant(np.cos(angles).astype(np.float32), "cos"), b.constant(np.sin(angles).astype(np.float32), "sin"))


def _layers(b: FloatBuilder, tokens: int, _: int) -> FloatGraph:
    """Causal attention with rotary positions, four heads to each of keys and values; a gated layer with SiLU."""
    x = b.input("hidden_states", (tokens, 1, CHANNELS), (1, tokens, CHANNELS))
    turned = _angles(b, tokens, CHANNELS // HEADS)
    made = b.attention(b.norm(x, "input_norm", EPSILON, rms=True), "attention", Attention(HEADS, GROUPS, causal=True),
                       bias=False, turned=turned)
    x = b.add(x, made, "middle")
    y = b.norm(x, "post_norm", EPSILON, rms=True)
    gate = b.function(b.linear(y, INNER, "gate", bias=False), "Swish", "silu")
    both = b.mul(gate, b.linear(y, INNER, "up", bias=False), "gated")
    out = b.add(x, b.linear(both, CHANNELS, "down", gain=1.7, bias=False), "output")
    return b.graph({out: (1, tokens, CHANNELS)})


decoder_block = Transformer("decoder-block", "causal block: rotary positions, RMS norms, 4 heads a key, gated SiLU",
                            _layers, 128, least=2, most=1024)
