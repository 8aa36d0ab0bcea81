"""The ONNX operators that are accepted, in one table: what imports each, what runs it, and its conditions."""

from collections.abc import Callable
from dataclasses import dataclass

from .builder import Builder, Operation

Handler = Callable[[Builder, Operation], None]


@dataclass(frozen=True)
class Operator:
    """A row of the table. `attributes` are those that the handler reads; any other is refused."""

    name: str
    formats: str
    unit: str
    notes: str
    attributes: tuple[str, ...]
    handler: Handler


OPERATORS: dict[str, Operator] = {}

FORMATS = "float, QDQ"


def operator(*names: str, unit: str, notes: str = "", attributes: tuple[str, ...] = (),
             formats: str = FORMATS) -> Callable[[Handler], Handler]:
    """Enters a handler in the table under these names."""
    def enter(handler: Handler) -> Handler:
        for name in names:
            OPERATORS[name] = Operator(name, formats, unit, notes, attributes, handler)
        return handler
    return enter


def operators_table() -> list[tuple[str, str, str, str]]:
    """(name, formats, unit, notes) of each accepted operator, by name."""
    from . import elementwise, gathers, layers, moves, norms, shapes  # noqa: F401  they enter their handlers

    rows = [(row.name, row.formats, row.unit, row.notes) for row in OPERATORS.values()]
    return sorted([*rows, ("Constant", "any", "compiler", "and every node that reads constants only: computed here")])


ADVICE = {
    "LogSoftmax": "end the network before it and take the logits: the largest stays the largest",
    "PRelu": "use LeakyRelu",
    "LRN": "train with BatchNormalization",
    "InstanceNormalization": "train with BatchNormalization",
    "GroupQueryAttention": "export attention as MatMul and Softmax",
    "Attention": "export attention as MatMul and Softmax, with an operator set of 22 or less",
    "MultiHeadAttention": "export attention as MatMul and Softmax",
    "Einsum": "write it as Transpose and MatMul",
    "Where": "it is supported as a mask of scores right before their Softmax: causal, or of valid tokens",
    "ReduceSum": "use ReduceMean, and multiply by the number of elements",
    "CumSum": "compute positions when exporting, for a fixed number of tokens",
    "GatherElements": "use Gather",
    "GatherND": "use Gather",
    "GroupNormalization": "train with BatchNormalization",
    "QLinearConv": "export in QDQ format (QuantizeLinear, DequantizeLinear around float operators)",
    "QLinearMatMul": "export in QDQ format (QuantizeLinear, DequantizeLinear around float operators)",
    "ConvInteger": "export in QDQ format (QuantizeLinear, DequantizeLinear around float operators)",
    "MatMulInteger": "export in QDQ format (QuantizeLinear, DequantizeLinear around float operators)",
}
"""What would help, for operators that are not accepted."""

DOMAINS = {("com.microsoft", "SimplifiedLayerNormalization"), ("com.microsoft", "Gelu")}
"""Operators of other sets than ONNX' own that are accepted."""

OTHERWISE = "leave it out, or run this part on the host; `systolith operators` lists what is accepted"
