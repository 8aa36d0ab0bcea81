"""Convolutions of few channels: the vector unit gathers each position's window, so that the array's rows are full.

A K tile takes `rows` bytes that follow each other in memory. A kernel row of few channels is shorter, and the rest of
the tile is lost. Gathered, all kernel rows of a position follow each other.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from systolith.gen.graph import Conv2D, Tensor
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .array_nodes import Drained, Window, drain, input_rows
from .constants import conv_parameters, k_tiles, weight_tiles
from .plan import Emitter, Network, NodePlan, Piece
from .program import Region
from .vector_nodes import TYPES, scalars

_GAIN = 0.85
"""Gathering must take less than this part of the cycles that the array needs without."""


@dataclass(frozen=True)
class _Gather:
    """Sizes in bytes of what is gathered for a block."""

    window: int
    """Of a position."""
    row: int
    """Of a row of the input with its padding at both sides; 0 where there is none."""
    block: int
    """Of the windows of a block."""
    padded: int
    """Of the padded rows that a block reads."""


def gains(network: Network, node: Conv2D) -> bool:
    """Whether gathering makes the layer faster. It needs memory, and where that is to be saved it is not done."""
    config, x, out = network.config, network.tensor(node.inputs[0]), network.tensor(node.output)
    outputs, ky, kx, channels = node.weights.shape
    if network.stripes is not None or node.dilations[1] != 1 or not network.whole_pixels(x.name) or x.dtype != "int8":
        return False
    run, tiles = kx * channels, -(-outputs // config.cols)
    plain = tiles * ky * -(-run // config.rows)
    gathered = tiles * -(-ky * run // config.rows)
    lanes = min(config.vector_lanes, config.word_bytes)
    steps = ky * -(-run // lanes) + -(-outputs // lanes)
    return max(gathered, steps) < _GAIN * plain and out.shape[1] <= config.accumulator_rows and run <= 255


def _sizes(node: Conv2D, x: Tensor, blocks: list[Block]) -> _Gather:
    _, ky, kx, channels = node.weights.shape
    (_, left, _, right), most = node.padding, max(blocks, key=lambda block: block.height)
    row = (x.shape[1] + left + right) * channels if left or right else 0
    rows = (most.height - 1) * node.strides[0] + (ky - 1) * node.dilations[0] + 1
    return _Gather(ky * kx * channels, row, most.height * most.width * ky * kx * channels, row * rows)


def plan_gathered(network: Network, tag: int, node: Conv2D) -> NodePlan:
    """VECTORs that gather a block's windows while the array works on the block before; then an ARRAY and a VECTOR."""
    config, x, out = network.config, network.tensor(node.inputs[0]), network.tensor(node.output)
    outputs, ky, kx, channels = node.weights.shape
    flat = Window(np.ascontiguousarray(node.weights.reshape(outputs, 1, 1, -1)))
    loops = k_tiles(flat.weights, config.rows, True)
    tiles = -(-outputs // config.cols)
    reads = tiles * loops[2]
    blocks = network.array_blocks(out, out.shape[:2], reads)
    sizes = _sizes(node, x, blocks)
    half = -(-(sizes.block + sizes.padded) // config.word_bytes) * config.word_bytes
    plan = NodePlan(node, "array", network.target(node), scratch=2 * half,
                    make_constants=lambda: conv_parameters(node, node.weights, x.zero_point, config),
                    make_weights=lambda: weight_tiles(flat.weights, config, True).tobytes(),
                    fill=node.weights.size / (reads * config.macs),
                    note="the vector unit gathers its windows")
    same = {"source": isa.MEMORY, "tiles": 1, "wy": 1, "wx": 1, "y_step": 1, "x_step": 1, "low": -128, "high": 127,
            "zero_point": x.zero_point, "out_type": isa.INT8, "in_type": TYPES[x.dtype]}

    def rows_of(block: Block) -> tuple[int, int, int]:
        return input_rows(block, node.strides[0], node.padding[0], ky, node.dilations[0], x.shape[0])

    def gather(e: Emitter, number: int) -> None:
        block, at = blocks[number], e.scratch(tag) + number % 2 * half
        start, first, end = rows_of(block)
        source, params = e.place(x.name), scalars(e, [(x.zero_point, 1)], 0)
        operand, reading, row = source.operand("a", first), source.regions(first, end), source.row
        if sizes.row:
            padded = Region(at + sizes.block, (end - first) * sizes.row)
            e.program.add(isa.VECTOR, [], [padded], tag=tag, **same, params=params, elems=padded.size,
                          elems_last=padded.size, ny=1, nx=1, c=padded.address)
            e.program.add(isa.VECTOR, reading, [padded], tag=tag, **same | operand, params=params, a_row=row,
                          height=x.shape[0], width=1, y_start=first, elems=x.shape[1] * channels,
                          elems_last=x.shape[1] * channels, ny=end - first, nx=1,
                          c=padded.address + node.padding[1] * channels, c_row=sizes.row)
            operand = {"a": (padded.address - first * sizes.row) % (1 << 24)}
            reading, row = [padded], sizes.row
        for k in range(ky):
            offset = k * kx * channels
            windows = Region(at + offset, block.height * block.width * sizes.window - offset, partly=True)
            e.program.add(isa.VECTOR, reading, [windows], tag=tag, **same | operand | {"y_step": node.strides[0]},
                          params=params, a_row=row, a_pixel=node.strides[1] * channels, height=x.shape[0],
                          width=block.width, y_start=start + k * node.dilations[0], elems=kx * channels,
                          elems_last=kx * channels, ny=block.height, nx=block.width, c=windows.address,
                          c_row=block.width * sizes.window, c_pixel=sizes.window)

    def emit(e: Emitter, number: int) -> None:
        block = blocks[number]
        if number == 0:
            gather(e, 0)
        at, row = e.scratch(tag) + number % 2 * half, block.width * sizes.window
        array = e.program.add(
            isa.ARRAY, [Region(at, block.height * row)], tag=tag, a=at, **e.read_weights(tag, 0, reads),
            rows_y=block.height, rows_x=block.width, ky=1, kx=1, kc=loops[2], tiles=tiles, pad=x.zero_point,
            height=block.height, y_step=1, y_dilation=1, row_bytes=row, row_pitch=row, x_step=sizes.window,
            kx_step=sizes.window, kc_step=config.rows)
        if number + 1 < len(blocks):
            gather(e, number + 1)
        drain(e, tag, node, array, block, Drained(range(tiles), 0, 1, flat))

    for number, block in enumerate(blocks):
        needs = [(x.name, *rows_of(other)[1:]) for other in blocks[number:number + 2]]
        plan.pieces.append(Piece(tag, block, needs, partial(emit, number=number), reads))
    return plan
