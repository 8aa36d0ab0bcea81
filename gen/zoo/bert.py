"""The layers that BERT and its relatives have in common."""

from .float_builder import Attention, FloatBuilder


def embeddings(b: FloatBuilder, tokens: int, *, words: int, positions: int, skipped: int, types: int, channels: int,
               epsilon: float) -> str:
    """Input `input_ids`, its words, positions and types, and their norm. All tokens are of the first type, so that
    positions and type are one constant; `skipped`: rows of the table before the first position's."""
    ids = b.input("input_ids", (tokens, 1, 1), (1, tokens))
    word = b.embedding(ids, words, channels, "embeddings.word_embeddings")
    place = b.weights.table("embeddings.position_embeddings", positions, channels, 0.5)[skipped:skipped + tokens]
    kind = b.weights.table("embeddings.token_type_embeddings", types, channels, 0.5)[:1]
    fixed = b.constant((place + kind)[:, None], "embeddings.positions")
    return b.norm(b.add(word, fixed, "embeddings.sum"), "embeddings.LayerNorm", epsilon)


def layer(b: FloatBuilder, x: str, name: str, how: Attention, inner: int, epsilon: float) -> str:
    """Attention and two fully connected layers with GELU, each with a sum and a norm behind it."""
    channels = b.shapes[x][2]
    made = b.attention(x, f"{name}.attention", how)
    x = b.norm(b.add(made, x, f"{name}.attention.sum"), f"{name}.attention.LayerNorm", epsilon)
    made = b.function(b.linear(x, inner, f"{name}.intermediate"), "Gelu", f"{name}.gelu")
    made = b.linear(made, channels, f"{name}.output", gain=1.5)  # a GELU leaves six tenths of a deviation
    return b.norm(b.add(made, x, f"{name}.sum"), f"{name}.LayerNorm", epsilon)
