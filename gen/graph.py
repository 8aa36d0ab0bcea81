"""Core graph: a network in typed integer operators, as the golden model executes it and the compiler schedules it.

Tensors are [height, width, channels], batch 1 left out; a vector is [1, 1, n], a matrix [1, rows, n].
Semantics follow the integer subset of TOSA; each operator's numbers are defined once, in `systolith.sim.golden`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
DTYPES: dict[str, type[np.signedinteger]] = {"int8": np.int8, "int16": np.int16, "int32": np.int32}


@dataclass(frozen=True)
class Tensor:
    """A value between operators: real value = scale * (integer - zero_point)."""

    name: str
    shape: Shape
    dtype: str = "int8"
    scale: float = 1.0
    zero_point: int = 0

    @property
    def elements(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def bytes(self) -> int:
        return self.elements * np.dtype(DTYPES[self.dtype]).itemsize

    @property
    def channel_bytes(self) -> int:
        """Bytes of a position."""
        return self.shape[2] * np.dtype(DTYPES[self.dtype]).itemsize


@dataclass(frozen=True)
class Node:
    """An operator: `inputs` and `output` are tensor names; `source` names what the user's file calls it."""

    name: str
    inputs: tuple[str, ...]
    output: str
    source: str = field(default="", kw_only=True)

    @property
    def operator(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, eq=False)
class Conv2D(Node):
    """Convolution, matrix product and fully connected layer: int32 sums, rescaled a channel.

    out = clamp(round_shift((sum over the window of (x - zp_in) * w + bias) * multiplier, shift) + zp_out, low, high);
    positions outside the input count as x = zp_in.
    """

    weights: NDArray[np.int8]
    """[output channels, kernel height, kernel width, input channels]; symmetric (zero point 0)."""
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """top, left, bottom, right"""
    rounding: int = 0
    low: int = -128
    high: int = 127
    weight_scales: NDArray[np.float32] | None = None
    """Real value of one step of a weight, a channel; what a QDQ file shows."""

    def macs(self, output: Tensor) -> int:
        """Multiply-accumulates of the layer."""
        return output.shape[0] * output.shape[1] * self.weights.size


@dataclass(frozen=True, eq=False)
class DepthwiseConv2D(Node):
    """Convolution of each channel on its own: output channel c reads input channel c // (outputs / inputs); otherwise
    as Conv2D."""

    weights: NDArray[np.int8]
    """[output channels, kernel height, kernel width]; symmetric (zero point 0)."""
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """top, left, bottom, right"""
    rounding: int = 0
    low: int = -128
    high: int = 127
    weight_scales: NDArray[np.float32] | None = None

    def macs(self, output: Tensor) -> int:
        """Multiply-accumulates of the layer."""
        return output.shape[0] * output.shape[1] * self.weights.size


@dataclass(frozen=True, eq=False)
class TransposedConv2D(Node):
    """Transposed convolution: input position (y, x) adds x * w at output (y, x) * strides + (ky, kx) - (top, left);
    then bias and rescale as in Conv2D. Bottom and right padding say where the output ends."""

    weights: NDArray[np.int8]
    """[output channels, kernel height, kernel width, input channels]; symmetric (zero point 0)."""
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """top, left, bottom, right: cut off the full output; negative at the bottom or right: only bias there"""
    rounding: int = 0
    low: int = -128
    high: int = 127
    weight_scales: NDArray[np.float32] | None = None

    def macs(self, output: Tensor) -> int:
        """Multiply-accumulates of the layer: each output position meets a part of the kernel."""
        return output.shape[0] * output.shape[1] * self.weights.size // (self.strides[0] * self.strides[1])


@dataclass(frozen=True, eq=False)
class Add(Node):
    """out = clamp(round_shift((a - zp_a) * multiplier[0] + (b - zp_b) * multiplier[1], shift) + zp_out, low, high).

    Each axis of an input is as long as the output's, or 1 and repeated. A difference has a negative multiplier.
    """

    multiplier: tuple[int, int]
    shift: int
    rounding: int = 0
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Mul(Node):
    """out = clamp(round_shift((a - zp_a) * (b - zp_b) * multiplier, shift) + zp_out, low, high).

    Each axis of an input is as long as the output's, or 1 and repeated.
    """

    multiplier: int
    shift: int
    rounding: int = 0
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Lookup(Node):
    """out = table[x + 128], element by element, int8 to int8: any function of one value."""

    table: NDArray[np.int8]
    """[256]"""


@dataclass(frozen=True, eq=False)
class Softmax(Node):
    """Softmax over the channels, int8 to int8, as the SOFTMAX instruction defines it: 1/256 a step, zero point -128."""

    table: NDArray[np.int32]
    """[256]: round(2**24 * exp(-beta * scale * d)) for d = 0 .. 255"""
    causal: bool = False
    """In row t only the first t + 1 channels take part; the others come out as 0."""
    masked: bool = False
    """The channels are tokens, of which there may be fewer than the graph has (`Graph.mask`)."""


@dataclass(frozen=True, eq=False)
class MatMul(Node):
    """Product of two activations, a head at a time. A row of a is heads x K values, one of the output heads x N,
    however they are cut into positions and channels, and one of b groups x N or, `transposed`, groups x K.

    out[t, h, n] = clamp(round_shift((sum over k of (a[t, h, k] - zp_a) * b[k, g, n]) * multiplier, shift) + zp_out,
    low, high), g = h // (heads / groups). b is [K, groups, N], or [N, groups, K] where it is `transposed`; its zero
    point is 0.
    """

    multiplier: int
    shift: int
    inner: int
    """K"""
    transposed: bool = False
    rounding: int = 0
    low: int = -128
    high: int = 127

    def sizes(self, a: Shape, b: Shape, output: Shape) -> tuple[int, int, int]:
        """Heads, groups and N."""
        heads = a[1] * a[2] // self.inner
        columns = output[1] * output[2] // heads
        return heads, b[1] * b[2] // (self.inner if self.transposed else columns), columns

    def macs(self, output: Tensor) -> int:
        """Multiply-accumulates of the layer."""
        return output.elements * self.inner


@dataclass(frozen=True, eq=False)
class Constant(Node):
    """Numbers that the network has; no inputs."""

    values: NDArray[np.integer[Any]]
    """of the output's shape and type"""


@dataclass(frozen=True, eq=False)
class Embedding(Node):
    """Rows of a table by number, int32 from 0 on: [rows, 1, 1] to [rows, 1, channels]."""

    table: NDArray[np.integer[Any]]
    """[entries, channels], of the output's type"""


@dataclass(frozen=True, eq=False)
class Append(Node):
    """The tokens so far, the input behind them as the last one: [1, width, channels] to [tokens, width, channels].

    They stay in the machine from run to run. Run t makes row t: it has a length of t + 1 (`Graph.mask`).
    """


@dataclass(frozen=True, eq=False)
class Rotary(Node):
    """Rotary positions: of x [rows, heads, n] and cos and sin [rows, 1, n],

    out[t, h, c] = clamp(round_shift(((x[t, h, c] - zp_x) * (cos[t, c] - zp_cos)) * multiplier[0] +
    ((x[t, h, p] - zp_x) * (sin[t, c] - zp_sin)) * +-multiplier[1], shift) + zp_out, low, high),
    p the channel n / 2 away, with minus where c is in the lower half. x and the output, of one shape, may have all
    heads in one position.
    """

    multiplier: tuple[int, int]
    shift: int
    rounding: int = 0
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Norm(Node):
    """Layer norm over the channels (RMS norm, where `rms` is set), int8 or int16, as NORM defines it."""

    gain: NDArray[np.int64]
    """[channels], as are the next two: `systolith.sim.golden.norm.NormParameters`"""
    shift: NDArray[np.int64]
    offset: NDArray[np.int64]
    epsilon: int
    rms: bool = False
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Concat(Node):
    """The inputs one after the other along `axis` (0: height, 1: width, 2: channels); the same integers, so all have
    the output's scale and zero point."""

    axis: int


@dataclass(frozen=True, eq=False)
class Slice(Node):
    """Every step-th element from `start` on, along each axis; as many as the output has."""

    start: tuple[int, int, int]
    step: tuple[int, int, int] = (1, 1, 1)


@dataclass(frozen=True, eq=False)
class Transpose(Node):
    """Output axis k is input axis permutation[k]."""

    permutation: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Resize(Node):
    """Each output position reads input rows and columns by table: nearest takes one, bilinear weighs four.

    nearest: out[y, x] = in[rows[y], columns[x]]. bilinear: with (low, high, fraction) of each row and column, s = the
    sum of the four * their products of fraction and (1 << bits) - fraction, on x - zp_in, and out =
    clamp(round_shift(s * multiplier, 2 * bits + shift) + zp_out, low, high). With `raw` zero points play no part: s is
    the sum on x, and zp_out is not added.
    """

    rows: tuple[tuple[int, int, int], ...]
    """for each output row: input row, the one below, and the second's weight out of 1 << bits; nearest: (y, y, 0)"""
    columns: tuple[tuple[int, int, int], ...]
    bits: int = 0
    """0: nearest"""
    rounding: int = 0
    low: int = -128
    high: int = 127
    multiplier: int = 1
    shift: int = 0
    raw: bool = False


@dataclass(frozen=True, eq=False)
class ArgMax(Node):
    """Index of the first largest channel, int32: [height, width, 1]; of the last one where `last` is set."""

    last: bool = False


@dataclass(frozen=True, eq=False)
class Pool2D(Node):
    """Window reduction: `mode` "max" or "average".

    max: the largest x in the window inside the input; average: the sum of (x - zp_in) in the window inside the input.
    Then out = clamp(round_shift(s * multiplier, shift) + zp_out, low, high), s = max - zp_in or the sum.
    For an average, `multiplier / 2**shift` is scale_in / scale_out / count, the count being the whole window's;
    where `exclude_padding` is set the count is that of the elements inside and `border` gives, for each such count,
    its own (multiplier, shift). With `raw` zero points play no part: s is the sum of x, and zp_out is not added.
    """

    mode: str
    kernel: tuple[int, int]
    multiplier: int
    shift: int
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    exclude_padding: bool = False
    border: tuple[tuple[int, int, int], ...] = ()
    """(count, multiplier, shift) of every count that occurs, where `exclude_padding` is set."""
    rounding: int = 0
    low: int = -128
    high: int = 127
    raw: bool = False


@dataclass(frozen=True, eq=False)
class Rescale(Node):
    """out = clamp(round_shift((x - zp_in) * multiplier, shift) + zp_out, low, high), element by element; with `padding`
    (top, left, bottom, right) the output is larger and its border is zp_out, which then lies between low and high."""

    multiplier: int
    shift: int
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    rounding: int = 0
    low: int = -128
    high: int = 127


@dataclass(frozen=True, eq=False)
class Reshape(Node):
    """The same elements in the same order under another shape; costs nothing."""


@dataclass(frozen=True, eq=False)
class Feed(Node):
    """The values of an input of the network, which the host brings row by row while the network runs."""


@dataclass(frozen=True, eq=False)
class Pack(Node):
    """The values of a tensor coded tile by tile into a stream of pages, which its output stands for.

    Tiles have `tile` rows and positions (fewer at the edges) and all channels; `centre` is what the codec takes for
    zero, `table_set` the tables that it takes.
    """

    tile: tuple[int, int]
    centre: int
    table_set: int
    readers: int
    """Unpacks that read the stream."""
    raw: bool = False
    """Tiles are stored as they are."""
    whole_stripes: bool = False
    """One instruction packs all tiles that a stripe makes, not a band of them."""


@dataclass(frozen=True, eq=False)
class Unpack(Node):
    """The values of a Pack's stream again; `reader` is its number among those."""

    tile: tuple[int, int]
    centre: int
    table_set: int
    reader: int
    whole_stripes: bool = False


@dataclass(frozen=True)
class Convention:
    """How the user's file gives and takes the arrays of its inputs and outputs; as it stands, ONNX's."""

    order: str = "NCHW"
    """What the axes of a layout of rank 4 are: NCHW, or NHWC as in TensorFlow Lite."""
    ties: str = "even"
    """Where a real input is halfway between two integers: "even", or "away" from zero as in TensorFlow Lite."""
    unsigned: tuple[str, ...] = ()
    """int8 inputs and outputs that are uint8 in the file, where they are 128 more."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: nodes in an order in which each comes after those it reads."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    nodes: tuple[Node, ...]
    input_layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """What the user's file calls each input's shape, with the batch; `convention` has the order of the axes."""
    output_layouts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    convention: Convention = Convention()
    mask: str = ""
    """What the user's file calls the input that says how many tokens there are, the rows of tensors; "": as many as the
    graph has."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The tensors that stay in the machine from run to run."""
        return tuple(node.output for node in self.nodes if isinstance(node, Append))

    def entries(self) -> dict[str, int]:
        """Inputs that are numbers of rows of tables, and how many rows these have at least."""
        least: dict[str, int] = {}
        same: dict[str, str] = {}  # what carries the values of an input
        for node in self.nodes:
            if isinstance(node, Feed | Pack | Unpack):
                same[node.output] = same.get(node.inputs[0], node.inputs[0])
            if isinstance(node, Embedding):
                name = same.get(node.inputs[0], node.inputs[0])
                least[name] = min(least.get(name, len(node.table)), len(node.table))
        return least

    def check(self) -> None:
        """Raises ValueError where a node reads what is not there yet, two write one tensor, or shapes disagree."""
        known = set(self.inputs)
        for node in self.nodes:
            for name in node.inputs:
                if name not in known:
                    raise ValueError(f"{node.name} reads {name}, which nothing before it makes")
            if node.output in known:
                raise ValueError(f"{node.name} makes {node.output} a second time")
            known.add(node.output)
            expected = output_shape(node, [self.tensors[name] for name in node.inputs])
            if expected is not None and expected != self.tensors[node.output].shape:
                raise ValueError(f"{node.name} makes {expected}, not {self.tensors[node.output].shape}")
        for name in self.outputs:
            if name not in known:
                raise ValueError(f"nothing makes the output {name}")


def window_shape(shape: Shape, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int],
                 padding: tuple[int, int, int, int]) -> tuple[int, int]:
    """Output height and width of a window operator."""
    height = (shape[0] + padding[0] + padding[2] - dilations[0] * (kernel[0] - 1) - 1) // strides[0] + 1
    width = (shape[1] + padding[1] + padding[3] - dilations[1] * (kernel[1] - 1) - 1) // strides[1] + 1
    return height, width


def output_shape(node: Node, inputs: list[Tensor]) -> Shape | None:
    """Shape that the node makes; None for a Reshape, Slice, MatMul or Append, which leave it open."""
    if isinstance(node, Constant):
        height, width, channels = node.values.shape
        return (height, width, channels)
    x = inputs[0].shape
    if isinstance(node, Conv2D | DepthwiseConv2D):
        kernel = (node.weights.shape[1], node.weights.shape[2])
        return (*window_shape(x, kernel, node.strides, node.dilations, node.padding), node.weights.shape[0])
    if isinstance(node, TransposedConv2D):
        height, width = (
            (x[axis] - 1) * node.strides[axis] + node.weights.shape[1 + axis] - node.padding[axis]
            - node.padding[2 + axis] for axis in (0, 1))
        return (height, width, node.weights.shape[0])
    if isinstance(node, Add | Mul):
        return tuple(np.broadcast_shapes(x, inputs[1].shape))  # type: ignore[return-value]
    if isinstance(node, Concat):
        sizes = list(x)
        sizes[node.axis] = sum(t.shape[node.axis] for t in inputs)
        return (sizes[0], sizes[1], sizes[2])
    if isinstance(node, Transpose):
        return (x[node.permutation[0]], x[node.permutation[1]], x[node.permutation[2]])
    if isinstance(node, Resize):
        return (len(node.rows), len(node.columns), x[2])
    if isinstance(node, ArgMax):
        return (x[0], x[1], 1)
    if isinstance(node, Embedding):
        return (x[0], x[1], node.table.shape[1])
    if isinstance(node, Pool2D):
        return (*window_shape(x, node.kernel, node.strides, node.dilations, node.padding), x[2])
    if isinstance(node, Rescale):
        top, left, bottom, right = node.padding
        return (x[0] + top + bottom, x[1] + left + right, x[2])
    if isinstance(node, Reshape | Slice | MatMul | Append):
        return None
    return x
