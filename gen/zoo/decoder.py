"""One block of a language model as they are now, with seeded random weights."""

import numpy as np

from systolith.gen.float_graph import FloatGraph

from .float_builder import Attention, FloatBuilder
from .transformer import Transformer

CHANNELS, HEADS, GROUPS, INNER, EPSILON, BASE = 512, 8, 2, 1408, 1e-5, 10000.0


def turns(b: FloatBuilder, tokens: int, size: int, base: float) -> tuple[str, str]:
    """cos and sin of the rotary positions, [tokens, 1, size]: both halves turn alike."""
    half = size // 2
    angles = np.tile(np.arange(tokens)[:, None] * base ** (-np.arange(half) / half), 2)[:, None]
    return (b.constant(np.cos(angles).astype(np.float32), "cos"), b.constant(np.sin(angles).astype(np.float32), "sin"))


def decoder_layer(b: FloatBuilder, x: str, prefix: str, how: Attention, turned: tuple[str, str], inner: int,
                  epsilon: float) -> str:
    """A block without biases: an RMS norm, attention and a sum; an RMS norm, a gated layer with SiLU and a sum. The
    names of its layers start with `prefix`."""
    channels = b.shapes[x][2]
    made = b.attention(b.norm(x, f"{prefix}input_norm", epsilon, rms=True), f"{prefix}attention", how, bias=False,
                       turned=turned)
    x = b.add(x, made, f"{prefix}middle")
    y = b.norm(x, f"{prefix}post_norm", epsilon, rms=True)
    gate = b.function(b.linear(y, inner, f"{prefix}gate", bias=False), "Swish", f"{prefix}silu")
    both = b.mul(gate, b.linear(y, inner, f"{prefix}up", bias=False), f"{prefix}gated")
    return b.add(x, b.linear(both, channels, f"{prefix}down", gain=1.7, bias=False), f"{prefix}output")


def _layers(b: FloatBuilder, tokens: int, _: int) -> FloatGraph:
    """Causal attention with rotary positions, four heads to each of keys and values; a gated layer with SiLU."""
    x = b.input("hidden_states", (tokens, 1, CHANNELS), (1, tokens, CHANNELS))
    turned = turns(b, tokens, CHANNELS // HEADS, BASE)
    out = decoder_layer(b, x, "", Attention(HEADS, GROUPS, causal=True), turned, INNER, EPSILON)
    return b.graph({out: (1, tokens, CHANNELS)})


decoder_block = Transformer("decoder-block", "causal block: rotary positions, RMS norms, 4 heads a key, gated SiLU",
                            _layers, 128, least=2, most=1024)
