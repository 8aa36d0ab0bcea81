"""ArgMax on the vector unit: the largest of keys made of a value and its index."""

from systolith.gen.graph import ArgMax
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .plan import Emitter, Network, NodePlan
from .program import Region
from .vector_nodes import LIMITS, TYPES, add_vector, pieces_of, pixel_fields, scalars

_SHIFT = 16


def plan_argmax(network: Network, tag: int, node: ArgMax) -> NodePlan:
    """For each position: key = x << 16 | rank of the channel among equals; the largest key; its rank as an index.

    The keys of a position are a window of `across` x `down`, since a window's sides are 255 at most; what it has more
    than channels is the lowest key.
    """
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    channels = x.shape[2]
    across = next(n for n in range(min(channels, 255), 0, -1) if channels % n == 0)
    if channels > 255 * across:
        across = 255
    down = -(-channels // across)
    keys = 4 * across * down
    width = x.shape[1]
    rank = range(channels) if node.last else range(channels - 1, -1, -1)
    ranks = b"".join(k.to_bytes(4, "little") for k in rank)
    row = 4 * channels * width
    most = max(block.height for block in network.row_blocks(out))
    # values as int32, then keys, then the largest
    at_keys, at_best = most * row, most * row + most * width * keys
    plan = NodePlan(node, "vector", node.output, scratch=at_best + 4 * most * width)

    def emit(e: Emitter, block: Block) -> None:
        low, high = LIMITS["int32"]
        wide, keyed, best = (e.scratch(tag) + at for at in (0, at_keys, at_best))
        count = block.height * width
        regions = [Region(wide, count * 4 * channels), Region(keyed, count * keys), Region(best, 4 * count)]
        common = {"source": isa.MEMORY, "out_type": isa.INT32, "low": low, "high": high, "tiles": 1, "wy": 1, "wx": 1,
                  "y_step": 1, "x_step": 1}

        def vector(reads: list[Region], writes: list[Region], **values: int) -> None:
            e.program.add(isa.VECTOR, reads, writes, tag=tag, **common | values)

        vector(e.place(x.name).regions(block.y, block.end), regions[:1], **pixel_fields(e, x, block.y),
               y_start=block.y, params=scalars(e, [(0, 1 << _SHIFT)], 0), ny=block.height, nx=width, c=wide,
               c_row=row, c_pixel=4 * channels)
        if across * down > channels:
            vector([], regions[1:2], ny=1, nx=count, c=keyed, c_pixel=keys, elems=across * down,
                   elems_last=across * down, params=scalars(e, [(0, 0)], 0), high=low)
        vector([regions[0]], regions[1:2], operands=1, a=wide, a_pixel=4 * channels,
               b=e.pool(e.network.keep(ranks)), height=1, width=count, ny=1, nx=count, elems=channels,
               elems_last=channels, in_type=isa.INT32, params=scalars(e, [(0, 1), (0, 1)], 0), c=keyed, c_pixel=keys)
        vector([regions[1]], regions[2:], reduce=isa.MAX, a=keyed, a_tile=keys, a_row=4 * across, a_pixel=4,
               height=down, width=across, tiles=count, ny=1, nx=1, wy=down, wx=across, wy_step=1, wx_step=1, elems=1,
               elems_last=1, in_type=isa.INT32, params=scalars(e, [(0, 1)], 0), c=best, c_tile=4)
        offset, sign = (0, 1) if node.last else (channels - 1, -1)
        add_vector(e, tag, node.output, block, regions[2:], a=best, a_row=4 * width, a_pixel=4, height=block.height,
                   width=width, elems=1, elems_last=1, in_type=isa.INT16, params=scalars(e, [(offset, sign)], 0),
                   out_type=TYPES[out.dtype])

    return pieces_of(network, plan, tag, emit, lambda block: [(x.name, block.y, block.end)])
