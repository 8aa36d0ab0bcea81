"""Vision transformer, tiny, on patches of 16 x 16, for ImageNet, with seeded random weights."""

from systolith.gen.float_graph import FloatGraph

from .float_builder import Attention, FloatBuilder
from .transformer import Transformer

LAYERS, CHANNELS, HEADS, INNER, PATCH, CLASSES, EPSILON = 12, 192, 3, 768, 16, 1000, 1e-6


def _block(b: FloatBuilder, x: str, name: str) -> str:
    """Norms come before attention and fully connected layers, and sums behind them."""
    made = b.attention(b.norm(x, f"{name}.norm1", EPSILON), f"{name}.attn", Attention(HEADS))
    x = b.add(x, made, f"{name}.middle")
    made = b.linear(b.norm(x, f"{name}.norm2", EPSILON), INNER, f"{name}.mlp.fc1")
    made = b.linear(b.function(made, "Gelu", f"{name}.mlp.gelu"), CHANNELS, f"{name}.mlp.fc2")
    return b.add(x, made, f"{name}.sum")


def _layers(b: FloatBuilder, side: int, layers: int) -> FloatGraph:
    x = b.patches(b.input("input", (side, side, 3), (1, 3, side, side)), CHANNELS, PATCH, "patch_embed")
    token = b.constant(b.weights.table("cls_token", 1, CHANNELS, 1.0)[:, None], "cls_token")
    x = b.concat((token, x), "tokens")
    places = b.weights.table("pos_embed", b.shapes[x][0], CHANNELS, 0.5)
    x = b.add(x, b.constant(places[:, None], "pos_embed"), "embedded")
    for number in range(layers):
        x = _block(b, x, f"blocks.{number}")
    y = b.linear(b.first(b.norm(x, "norm", EPSILON), "class"), CLASSES, "head")
    return b.graph({y: (1, CLASSES)})


vit_tiny = Transformer("vit-tiny", "ViT-Tiny/16, ImageNet", _layers, 224, least=32, most=512, step=PATCH, unit="pixels",
                       depth=LAYERS)
