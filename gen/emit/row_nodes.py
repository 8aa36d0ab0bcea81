"""Operators that work on one row of channels at a time: softmax and norms, each on a unit of its own."""

from collections.abc import Iterator

from systolith.gen.errors import UserError
from systolith.gen.graph import Norm, Softmax
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa
from systolith.sim.golden.norm import NormParameters

from .places import Place
from .plan import Emitter, Network, NodePlan
from .program import Region
from .vector_nodes import TYPES, pieces_of


def _runs(block: Block, source: Place, target: Place) -> Iterator[tuple[int, int]]:
    """(y, height) of the rows of a block that one instruction can take: all their positions follow each other at one
    distance, in both places."""
    apart = block.width > 1 and any(place.row != block.width * place.pixel for place in (source, target))
    for first, rows in source.runs(block.y, block.end):
        for y, height in target.runs(first, first + rows):
            yield from ((one, 1) for one in range(y, y + height)) if apart else ((y, height),)


def _pitch(place: Place, height: int, width: int) -> int:
    """Bytes from one row of channels of a run to the next."""
    return place.row if width == 1 and height > 1 else place.pixel


def plan_softmax(network: Network, tag: int, node: Softmax) -> NodePlan:
    """One SOFTMAX a block: each position is a row of it."""
    out, name = network.tensor(node.output), node.inputs[0]
    _check(network, node, out.shape[2], "softmax", isa.SOFTMAX_ELEMS)
    table = network.keep(node.table.astype("<i4").tobytes())

    def emit(e: Emitter, block: Block) -> None:
        source, target = e.place(name), e.place(out.name)
        for y, height in _runs(block, source, target):
            width = block.width
            causal = {"valid": y + 1, "valid_step": 1, "group": width} if node.causal else {}
            clip = network.clip(out, y)
            if network.tokens:
                clip |= {"clip": bool(clip) | node.masked << 1, "group": width}
            done = e.program.add(isa.SOFTMAX, [*source.regions(y, y + height), Region(e.pool(table), 1024)],
                                 target.regions(y, y + height), tag=tag, a=source.at(y), b=e.pool(table),
                                 c=target.at(y), rows=height * width, elems=out.shape[2],
                                 a_row=_pitch(source, height, width), c_row=_pitch(target, height, width),
                                 **causal | clip)
            e.wrote(done, out.name, Block(y, 0, height, width))
    return pieces_of(network, NodePlan(node, "softmax", node.output), tag, emit,
                     lambda block: [(name, block.y, block.end)])


def plan_norm(network: Network, tag: int, node: Norm) -> NodePlan:
    """One NORM a block: each position is a row of it."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    _check(network, node, out.shape[2], "norm", isa.NORM_ELEMS)
    word = network.config.word_bytes

    def parameters() -> bytes:
        raw = NormParameters(node.gain, node.shift, node.offset).encode().tobytes()
        return raw.ljust(-(-len(raw) // word) * word, b"\0")

    def emit(e: Emitter, block: Block) -> None:
        source, target = e.place(x.name), e.place(out.name)
        at, region = e.constants(tag)
        for y, height in _runs(block, source, target):
            width = block.width
            done = e.program.add(
                isa.NORM, [*source.regions(y, y + height), region], target.regions(y, y + height), tag=tag,
                a=source.at(y), b=at, c=target.at(y), rows=height * width, elems=out.shape[2],
                a_row=_pitch(source, height, width), c_row=_pitch(target, height, width), in_type=TYPES[x.dtype],
                out_type=TYPES[out.dtype], rms=node.rms, epsilon=node.epsilon & 0xFFFFFFFF,
                epsilon_high=node.epsilon >> 32, zero_point=out.zero_point, low=node.low, high=node.high,
                **(network.clip(out, y) if width == 1 else {}))
            e.wrote(done, out.name, Block(y, 0, height, width))
    return pieces_of(network, NodePlan(node, "norm", node.output, make_constants=parameters), tag, emit,
                     lambda block: [(x.name, block.y, block.end)])


def _check(network: Network, node: Softmax | Norm, elems: int, unit: str, most: int) -> None:
    """Raises UserError where the machine has no such unit, or its rows are too short."""
    what = node.source or node.name
    if not getattr(network.config, f"{unit}_lanes"):
        raise UserError(f"{what} needs the {unit} unit, which {network.config.name} does not have; set "
                        f"{unit}_lanes=4")
    if elems > most:
        raise UserError(f"{what}: a {unit} of {elems} values is too long for the {unit} unit; at most {most}")
