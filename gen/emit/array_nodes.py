"""Operators on the array: an ARRAY and a VECTOR for each block of the output."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Conv2D, DepthwiseConv2D, TransposedConv2D
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa
from systolith.rtl.config import Config

from .constants import Convolution, conv_parameters, depthwise_tiles, k_tiles, weight_tiles
from .places import item_bytes
from .plan import Emitter, Network, NodePlan, Part, Piece
from .program import Issued
from .vector_nodes import TYPES, lookup_fields, output_fields


def input_rows(block: Block, stride: int, pad: int, kernel: int, dilation: int, height: int) -> tuple[int, int, int]:
    """First row that the block's windows reach (may be negative), and the rows [first, end) inside the input."""
    start = block.y * stride - pad
    end = start + (block.height - 1) * stride + (kernel - 1) * dilation + 1
    first = min(max(start, 0), height - 1)
    return start, first, max(min(end, height), first + 1)


@dataclass(frozen=True)
class Window:
    """A convolution's weights and steps, and to which of the output's positions its own go."""

    weights: NDArray[np.int8]
    """[output channels, kernel height, kernel width, input channels]"""
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    top: int = 0
    left: int = 0
    first: tuple[int, int] = (0, 0)
    step: tuple[int, int] = (1, 1)


def _plan_windows(network: Network, tag: int, node: Conv2D | TransposedConv2D, windows: list[Window]) -> NodePlan:
    """An ARRAY and a VECTOR for each block of each window's positions; weights stream in anew for every block, or lie
    in memory for good."""
    config, x, out = network.config, network.tensor(node.inputs[0]), network.tensor(node.output)
    tiles = -(-out.shape[2] // config.cols)
    packed = [_packs_rows(network, x.name, window) for window in windows]
    loops = [k_tiles(window.weights, config.rows, run) for window, run in zip(windows, packed, strict=True)]
    reads = [tiles * ky * kx * kc for ky, kx, kc in loops]
    plan = NodePlan(node, "array", network.target(node),
                    make_constants=lambda: b"".join(conv_parameters(node, window.weights, x.zero_point, config)
                                                    for window in windows),
                    make_weights=lambda: b"".join(weight_tiles(window.weights, config, run).tobytes()
                                                  for window, run in zip(windows, packed, strict=True)),
                    fill=node.weights.size / (sum(reads) * config.macs))

    def emit(e: Emitter, number: int, block: Block) -> None:
        window, (ky, kx, kc), source = windows[number], loops[number], e.place(x.name)
        start, first, end = _input_rows(window, block, x.shape[0])
        array = e.program.add(
            isa.ARRAY, source.regions(first, end), tag=tag, **source.operand("a", first),
            **e.read_weights(tag, sum(reads[:number]), reads[number]), rows_y=block.height, rows_x=block.width, ky=ky,
            kx=kx, kc=kc, tiles=tiles, pad=x.zero_point, y_start=start, height=x.shape[0], y_step=window.strides[0],
            y_dilation=window.dilations[0], x_start=(block.x * window.strides[1] - window.left) * source.pixel,
            row_bytes=x.shape[1] * source.pixel, row_pitch=source.row, x_step=window.strides[1] * source.pixel,
            kx_step=window.dilations[1] * source.pixel, kc_step=config.rows,
            **(network.clip(out, block.y) if window.step == (1, 1) else {}))
        drain(e, tag, node, array, block, Drained(range(tiles), number, len(windows), window))

    for number, window in enumerate(windows):
        shape = tuple(len(range(first, size, step))
                      for first, size, step in zip(window.first, out.shape, window.step, strict=False))
        for block in network.array_blocks(out, (shape[0], shape[1]), reads[number]):
            _, first, end = _input_rows(window, block, x.shape[0])
            made = Block(window.first[0] + block.y * window.step[0], block.x, (block.height - 1) * window.step[0] + 1,
                         block.width)
            plan.pieces.append(Piece(tag, made, [(x.name, first, end)],
                                     partial(emit, number=number, block=block), reads[number],
                                     sum(reads[:number])))
    plan.pieces.sort(key=lambda piece: piece.block.y)
    return plan


def plan_conv(network: Network, tag: int, node: Conv2D) -> NodePlan:
    """One window for all."""
    return _plan_windows(network, tag, node, [
        Window(node.weights, node.strides, node.dilations, node.padding[0], node.padding[1])])


def plan_transposed(network: Network, tag: int, node: TransposedConv2D) -> NodePlan:
    """A convolution for each phase of the strides, with that part of the kernel, turned round, that meets the input."""
    taps = [[_phase(phase, node.strides[axis], node.padding[axis], node.weights.shape[1 + axis])
             for phase in range(min(node.strides[axis], network.tensor(node.output).shape[axis]))] for axis in (0, 1)]
    windows = []
    for py, (ys, top) in enumerate(taps[0]):
        for px, (xs, left) in enumerate(taps[1]):
            weights = node.weights[:, ys][:, :, xs] if ys and xs else np.zeros_like(node.weights[:, :1, :1])
            windows.append(Window(weights, top=top, left=left, first=(py, px), step=node.strides))
    return _plan_windows(network, tag, node, windows)


def _phase(phase: int, stride: int, pad: int, kernel: int) -> tuple[list[int], int]:
    """Kernel positions, last first, that outputs phase, phase + stride, ... meet, and the padding before the input."""
    first = (phase + pad) % stride
    taps = list(range(first, kernel, stride))[::-1]
    return taps, len(taps) - 1 - (phase + pad - first) // stride


def _input_rows(window: Window, block: Block, height: int) -> tuple[int, int, int]:
    return input_rows(block, window.strides[0], window.top, window.weights.shape[1], window.dilations[0], height)


def _packs_rows(network: Network, name: str, window: Window) -> bool:
    """Whether a kernel row is one run of bytes in the input, so that a K tile may go over several of its pixels."""
    return window.weights.shape[2] == 1 or (window.dilations[1] == 1 and network.whole_pixels(name))


@dataclass(frozen=True)
class Drained:
    """What of an output a VECTOR takes from the accumulators: tiles of channels, of one of several windows."""

    tiles: range
    number: int
    windows: int
    window: Window


def _every(first: int, step: int, at: int, count: int) -> range:
    """Output positions of a window's positions at .. at + count - 1."""
    return range(first + at * step, first + (at + count - 1) * step + 1, step)


def drain(e: Emitter, tag: int, node: Convolution, array: Issued, block: Block, what: Drained) -> None:
    """The VECTOR that takes a block of accumulators."""
    config, tiles, window, name = e.config, what.tiles, what.window, e.network.target(node)
    out, place = e.network.tensor(node.output), e.place(name)
    parameters, region = e.constants(tag)
    sets = -(-out.shape[2] // config.cols)
    parameters += (what.number * sets + tiles.start) * (region.size // (what.windows * sets))
    channels = range(tiles.start * config.cols, min(tiles.stop * config.cols, out.shape[2]))
    rows = _every(window.first[0], window.step[0], block.y, block.height)
    positions = _every(window.first[1], window.step[1], block.x, block.width)
    fields = output_fields(place, block) | {
        "c": place.at(rows[0], positions[0]) + channels.start * item_bytes(out), "c_row": place.row * window.step[0],
        "c_pixel": place.pixel * window.step[1]}
    writes = place.regions(rows[0], rows[-1] + 1, positions[0], positions[-1] - positions[0] + 1)
    if len(channels) < out.shape[2] or window.step != (1, 1):
        writes = [replace(part, partly=True) for part in writes]
    vector = e.program.add(
        isa.VECTOR, [region], writes, array, tag=tag, params=parameters,
        source=isa.ACCUMULATORS, rounding=node.rounding, tiles=len(tiles), elems=min(config.cols, len(channels)),
        elems_last=len(channels) - (len(tiles) - 1) * config.cols, wy=1, wx=1, low=node.low, high=node.high,
        c_tile=config.cols * item_bytes(out), in_type=isa.INT32, out_type=TYPES[out.dtype], zero_point=out.zero_point,
        **fields, **lookup_fields(e, e.network.lookup_after(node)), **array.clip())
    e.wrote_part(vector, name, Part(rows, positions, channels))


def plan_depthwise_on_array(network: Network, tag: int, node: DepthwiseConv2D) -> NodePlan:
    """Depthwise convolution without depthwise lanes: for each tile of output channels an ARRAY whose weight tiles are
    diagonals."""
    config, x, out = network.config, network.tensor(node.inputs[0]), network.tensor(node.output)
    height, width, channels = x.shape
    outputs, ky, kx = node.weights.shape
    times = outputs // channels
    tiles = -(-outputs // config.cols)
    reach = _reach(config, outputs, times)
    step = ky * kx * reach
    (sy, sx), (dy, dx), (top, left, _, _) = node.strides, node.dilations, node.padding
    plan = NodePlan(node, "array", network.target(node),
                    make_constants=lambda: conv_parameters(node, node.weights, x.zero_point, config),
                    make_weights=lambda: depthwise_tiles(node, times, reach, config).tobytes(),
                    fill=node.weights.size / (tiles * step * config.macs),
                    note="a depthwise convolution on the array fills diagonals only; the machine has no depthwise "
                         "unit that can do it")
    window = Window(node.weights[..., None])

    def emit(e: Emitter, block: Block) -> None:
        source = e.place(x.name)
        start, first, end = input_rows(block, sy, top, ky, dy, height)
        for tile in range(tiles):
            offset = tile * config.cols // times
            array = e.program.add(
                isa.ARRAY, source.regions(first, end), tag=tag, **source.operand("a", first),
                **e.read_weights(tag, tile * step, step), rows_y=block.height, rows_x=block.width, ky=ky, kx=kx,
                kc=reach, tiles=1, pad=x.zero_point, y_start=start, height=height, y_step=sy, y_dilation=dy,
                x_start=(block.x * sx - left) * source.pixel + offset, row_bytes=width * source.pixel,
                row_pitch=source.row, x_step=sx * source.pixel, kx_step=dx * source.pixel, kc_step=config.rows)
            drain(e, tag, node, array, block, Drained(range(tile, tile + 1), 0, 1, window))

    for block in network.array_blocks(out, out.shape[:2], tiles * step):
        _, first, end = input_rows(block, sy, top, ky, dy, height)
        plan.pieces.append(Piece(tag, block, [(x.name, first, end)], partial(emit, block=block),
                                 tiles * step))
    return plan


def _reach(config: Config, outputs: int, times: int) -> int:
    """K tiles over which the input channels of a tile of output channels spread, at most."""
    spans = [(min(at + config.cols, outputs) - 1) // times - at // times + 1 for at in range(0, outputs, config.cols)]
    return -(-max(spans) // config.rows)
