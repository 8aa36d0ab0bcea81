"""Operators to instructions: one function an operator."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from systolith.gen.graph import DTYPES, Add, Conv2D, Graph, Node, Pool2D, Rescale, Reshape, Tensor
from systolith.gen.schedule.blocks import Block, array_blocks, vector_blocks
from systolith.rtl import isa
from systolith.rtl.config import Config

from .constants import conv_parameters, k_tiles, scalar_parameters, weight_tiles
from .program import VECTOR_TO_ARRAY, VECTOR_TO_VECTOR, WEIGHT_FREE, WEIGHT_READY, Program

_TYPES = {"int8": isa.INT8, "int16": isa.INT16, "int32": isa.INT32}


@dataclass
class Layout:
    """Where constants and tensors lie; filled while code is made, used when it is made a second time."""

    parameters: int = 0
    """Address of the first parameter set."""
    ring: int = 0
    """Address of the weights: the ring, or all tiles where there is no external memory."""
    ring_tiles: int = 0
    """Tiles of the ring; 0: weights stay in the unified memory."""
    tensors: dict[str, int] = field(default_factory=dict)


class Emitter:
    """Makes the program of a graph for one layout. Made twice: first for the sizes, then with the addresses."""

    def __init__(self, graph: Graph, config: Config, layout: Layout) -> None:
        self.graph, self.config, self.layout = graph, config, layout
        self.program = Program()
        self.parameters = bytearray()
        self._sets: dict[bytes, int] = {}
        self.weights = bytearray()
        self.node = ""
        """Name of the operator that code is made for."""
        self._tile = 0  # weight tiles that the array has read so far, for the place in the ring

    def run(self) -> None:
        """Emits the whole program."""
        if self.layout.ring_tiles:
            self.program.add(isa.SYNC, signal0=WEIGHT_FREE, signal0_count=self.layout.ring_tiles)
        for tag, node in enumerate(self.graph.nodes):
            self.node = node.name
            EMIT[type(node)](self, tag, node)
        self.program.add(isa.END)

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def address(self, name: str) -> int:
        return self.layout.tensors.get(name, 0)

    def parameter_address(self, raw: bytes) -> int:
        """Address of a run of parameter sets, stored once."""
        if raw not in self._sets:
            self._sets[raw] = len(self.parameters)
            self.parameters += raw
        return self.layout.parameters + self._sets[raw]


def _size(tensor: Tensor) -> int:
    return np.dtype(DTYPES[tensor.dtype]).itemsize


def _output(e: Emitter, tensor: Tensor, block: Block) -> dict[str, int]:
    """Output fields of a VECTOR that makes a block of a tensor."""
    pixel = tensor.shape[2] * _size(tensor)
    row = tensor.shape[1] * pixel
    return {"c": e.address(tensor.name) + block.y * row + block.x * pixel, "c_row": row, "c_pixel": pixel,
            "ny": block.height, "nx": block.width, "out_type": _TYPES[tensor.dtype], "zero_point": tensor.zero_point}


def _stream_weights(e: Emitter, tag: int, external: int, tiles: int) -> int:
    """Has the mover bring `tiles` weight tiles into the ring; the ring address of the first."""
    tile, ring = e.config.weight_tile_bytes, e.layout.ring_tiles
    first = e.layout.ring + e._tile % ring * tile
    done = 0
    while done < tiles:  # an instruction counts 65535 blocks at most
        count = min(tiles - done, 65535)
        e.program.add(isa.MOVE_IN, tag=tag, a=e.layout.ring + (e._tile + done) % ring * tile,
                      external=external + done * tile, block_bytes=tile, blocks=count, take=WEIGHT_FREE,
                      give=WEIGHT_READY, step=tile, external_step=tile, ring=e.layout.ring, ring_bytes=ring * tile)
        done += count
    e._tile += tiles
    return first


def emit_conv(e: Emitter, tag: int, node: Conv2D) -> None:
    """One ARRAY and one VECTOR a block; weights stream in anew for every block, or lie in memory for good."""
    x, out, config = e.tensor(node.inputs[0]), e.tensor(node.output), e.config
    height, width, channels = x.shape
    ky, kx, kc = k_tiles(node, config.rows)
    tiles = -(-out.shape[2] // config.cols)
    stored = len(e.weights)
    e.weights += weight_tiles(node, config).tobytes()
    parameters = e.parameter_address(conv_parameters(node, x.zero_point, config))
    last = out.shape[2] - (tiles - 1) * config.cols
    (sy, sx), (dy, dx), (top, left, _, _) = node.strides, node.dilations, node.padding
    for block in array_blocks(out.shape[0], out.shape[1], config.accumulator_rows):
        first_row = block.y * sy - top
        end_row = first_row + (block.height - 1) * sy + (node.weights.shape[1] - 1) * dy + 1
        ring: dict[str, int] = {}
        if e.layout.ring_tiles:
            weights = _stream_weights(e, tag, stored, tiles * ky * kx * kc)
            ring = {"ring": e.layout.ring, "ring_bytes": e.layout.ring_tiles * config.weight_tile_bytes,
                    "ready": WEIGHT_READY, "free": WEIGHT_FREE}
        else:
            weights = e.layout.ring + stored
        e.program.add(isa.ARRAY, tag=tag, a=e.address(x.name), b=weights, rows_y=block.height, rows_x=block.width,
                      ky=ky, kx=kx, kc=kc, tiles=tiles, pad=x.zero_point, y_start=first_row, height=height,
                      y_step=sy, y_dilation=dy, x_start=(block.x * sx - left) * channels,
                      row_bytes=width * channels, row_pitch=width * channels,
                      x_step=sx * channels, kx_step=dx * channels, kc_step=config.rows, **ring,
                      **e.program.wait(VECTOR_TO_ARRAY, [(x.name, max(first_row, 0), max(end_row, 1))]))
        e.program.vector(tag=tag, params=parameters, source=isa.ACCUMULATORS, rounding=node.rounding, tiles=tiles,
                         elems=min(config.cols, out.shape[2]), elems_last=last, wy=1, wx=1, low=node.low,
                         high=node.high, c_tile=config.cols * _size(out), in_type=isa.INT32, **_output(e, out, block))
        e.program.made(out.name, block.y, block.height)


def _memory_vector(e: Emitter, tag: int, node: Add | Pool2D | Rescale, block: Block, parameters: int,
                   **values: int) -> None:
    """A VECTOR on memory operands, whole pixels of all channels at a time; `values` go before what is usual."""
    x, out = e.tensor(node.inputs[0]), e.tensor(node.output)
    pixel = x.shape[2] * _size(x)
    fields = {"a": e.address(x.name), "a_row": x.shape[1] * pixel, "a_pixel": pixel, "height": x.shape[0],
              "width": x.shape[1], "y_step": 1, "x_step": 1, "wy": 1, "wx": 1, "wy_step": 1, "wx_step": 1,
              "elems": x.shape[2], "elems_last": x.shape[2], "y_start": block.y, "x_start": block.x,
              "in_type": _TYPES[x.dtype]} | _output(e, out, block) | values
    first = max(fields["y_start"], 0)
    end = fields["y_start"] + (block.height - 1) * fields["y_step"] + (fields["wy"] - 1) * fields["wy_step"] + 1
    e.program.vector(tag=tag, params=parameters, source=isa.MEMORY, rounding=node.rounding, low=node.low,
                     high=node.high, tiles=1, **fields,
                     **e.program.wait(VECTOR_TO_VECTOR, [(name, first, max(end, 1)) for name in node.inputs]))
    e.program.made(out.name, block.y, block.height)


def _flat(tensor: Tensor) -> tuple[int, int]:
    """An elementwise operator's rows as one run: (runs a row, elements a run), within what an instruction counts."""
    runs, elements = 1, tensor.shape[1] * tensor.shape[2]
    while elements > 65535 or tensor.shape[1] % runs:
        runs += 1
        elements = tensor.shape[1] * tensor.shape[2] // runs
    return runs, elements


def emit_add(e: Emitter, tag: int, node: Add) -> None:
    """Two memory operands, whole rows at a time."""
    a, b, out = e.tensor(node.inputs[0]), e.tensor(node.inputs[1]), e.tensor(node.output)
    parameters = e.parameter_address(scalar_parameters(
        [(a.zero_point, node.multiplier[0]), (b.zero_point, node.multiplier[1])], node.shift, e.config))
    runs, elements = _flat(out)
    pixel = elements * _size(a)
    for block in vector_blocks(out.shape[0], out.shape[1]):
        _memory_vector(e, tag, node, Block(block.y, 0, block.height, runs), parameters, operands=1,
                       b=e.address(b.name), a_row=runs * pixel, a_pixel=pixel, b_row=runs * pixel, b_pixel=pixel,
                       c_pixel=elements * _size(out), width=runs, elems=elements, elems_last=elements)


def _inside(size: int, start: int, kernel: int, dilation: int) -> int:
    """Window positions that lie in 0..size-1."""
    return sum(0 <= start + k * dilation < size for k in range(kernel))


def _border_groups(out: int, size: int, stride: int, pad: int, kernel: int,
                   dilation: int) -> list[tuple[int, int, int]]:
    """Runs of output positions with the same number of window positions inside: (start, length, inside)."""
    groups: list[tuple[int, int, int]] = []
    for at in range(out):
        count = _inside(size, at * stride - pad, kernel, dilation)
        if groups and groups[-1][2] == count:
            groups[-1] = (groups[-1][0], groups[-1][1] + 1, count)
        else:
            groups.append((at, 1, count))
    return groups


def emit_pool(e: Emitter, tag: int, node: Pool2D) -> None:
    """A window reduction; where an average leaves out the padding, a block for each number of elements inside."""
    x, out = e.tensor(node.inputs[0]), e.tensor(node.output)
    blocks = [(block, node.multiplier, node.shift) for block in vector_blocks(out.shape[0], out.shape[1])]
    if node.exclude_padding:
        scales = {count: (multiplier, shift) for count, multiplier, shift in node.border}
        rows, columns = ([_border_groups(out.shape[i], x.shape[i], node.strides[i], node.padding[i], node.kernel[i],
                                         node.dilations[i]) for i in (0, 1)])
        blocks = [(Block(y, left, h, w), *scales[cy * cx]) for y, h, cy in rows for left, w, cx in columns]
    for block, multiplier, shift in blocks:
        parameters = e.parameter_address(scalar_parameters([(x.zero_point, multiplier)], shift, e.config))
        _memory_vector(e, tag, node, block, parameters, reduce=isa.MAX if node.mode == "max" else isa.SUM,
                       y_start=block.y * node.strides[0] - node.padding[0],
                       x_start=block.x * node.strides[1] - node.padding[1],
                       y_step=node.strides[0], x_step=node.strides[1], wy=node.kernel[0], wx=node.kernel[1],
                       wy_step=node.dilations[0], wx_step=node.dilations[1])


def emit_rescale(e: Emitter, tag: int, node: Rescale) -> None:
    """Element by element; with padding, what lies outside comes out as the zero point."""
    x, out = e.tensor(node.inputs[0]), e.tensor(node.output)
    parameters = e.parameter_address(scalar_parameters([(x.zero_point, node.multiplier)], node.shift, e.config))
    for block in vector_blocks(out.shape[0], out.shape[1]):
        _memory_vector(e, tag, node, block, parameters, y_start=block.y - node.padding[0],
                       x_start=block.x - node.padding[1])


def emit_reshape(e: Emitter, tag: int, node: Reshape) -> None:
    """No instruction: the output lies where the input does."""
    e.program.alias(node.output, node.inputs[0])


EMIT: dict[type[Node], Callable[[Emitter, int, Node], None]] = {
    Conv2D: emit_conv, Add: emit_add, Pool2D: emit_pool, Rescale: emit_rescale, Reshape: emit_reshape,  # type: ignore[dict-item]
}
