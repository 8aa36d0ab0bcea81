"""How long a schedule takes, roughly: units that work in the order of their pieces and wait for rows of others."""

import numpy as np
from numpy.typing import NDArray

from systolith.gen.emit.places import item_bytes
from systolith.gen.emit.plan import NodePlan, Piece
from systolith.gen.graph import DepthwiseConv2D, Pool2D
from systolith.rtl.config import Config

from .schedule import Schedule

PIECE_CYCLES = 60
"""What a piece of work costs beside its arithmetic: fetching and dispatching its instructions."""
PORT_SHARE = 1.2
"""The port has a fifth more to do than to bring weights."""


def estimate(s: Schedule) -> int:
    """Cycles of a schedule, for choosing between schedules; the cycle model knows better, and takes a hundred times as
    long."""
    config, network = s.network.config, s.network
    moving = PORT_SHARE * config.weight_tile_bytes / config.external_bytes if config.external_bytes else 0.0
    there: dict[str, NDArray[np.float64]] = {}  # when each row of a tensor is made
    free: dict[str, float] = {}  # when each unit has done its last piece
    port = ready = 0.0
    before: Piece | None = None
    for piece in s.order:
        plan = s.plans[piece.node]
        if before is None or not piece.like(before):  # heads read the same rows
            ready = 0.0
            for need in piece.needs:
                for name, first, end in network.sources(*need):
                    if name in there:
                        ready = max(ready, float(there[name][first:end].max(initial=0)))
        before = piece
        begin = max(ready, free.get(plan.unit, 0.0))
        end_ = begin + PIECE_CYCLES + _cycles(s, plan, piece, config)
        if piece.tiles:
            port += piece.tiles * moving
            end_ = max(end_, port)
            port = max(port, begin)  # weights are asked for a little ahead of their piece only
        free[plan.unit] = end_
        rows = there.setdefault(plan.output, np.zeros(network.tensor(plan.output).shape[0]))
        rows[piece.block.y:piece.block.end] = np.maximum(rows[piece.block.y:piece.block.end], end_)
    return int(max(free.values(), default=0))


def work(s: Schedule) -> int:
    """Cycles of a schedule if the array never waited for another unit, only for the port."""
    config = s.network.config
    moving = config.weight_tile_bytes / config.external_bytes if config.external_bytes else 0
    total = 0.0
    for piece in s.order:
        rows = max(piece.block.height * piece.block.width, config.rows)
        total += PIECE_CYCLES + piece.tiles * max(rows, moving) + piece.passes * rows
    return int(total)


def _cycles(s: Schedule, plan: NodePlan, piece: Piece, config: Config) -> float:
    """Of a piece's own arithmetic."""
    out, block, node = s.network.tensor(plan.output), piece.block, plan.node
    positions = block.height * block.width
    if plan.unit == "array":
        return (piece.tiles + piece.passes) * max(positions, config.rows)
    values = positions * out.shape[2]
    if plan.unit == "softmax":
        return values / config.softmax_lanes
    if plan.unit == "norm":
        return values / config.norm_lanes
    if plan.unit in ("pack", "unpack"):
        return values * item_bytes(out) / config.codec_lanes
    if plan.unit == "depthwise" and isinstance(node, DepthwiseConv2D):
        return values * node.weights[0].size / config.depthwise_lanes
    if plan.unit == "vector":
        taps = node.kernel[0] * node.kernel[1] if isinstance(node, Pool2D) else 1
        widest = max(item_bytes(s.network.tensor(name)) for name in (out.name, *node.inputs))
        return values * taps * max(widest / config.word_bytes, 1 / config.vector_lanes)
    return 0.0
