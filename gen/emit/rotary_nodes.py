"""Rotary positions on the vector unit: products with cosine and sine as int32, then their sum, half by half."""

from systolith.gen.graph import Rotary
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .places import Place, item_bytes
from .plan import Emitter, Network, NodePlan, Rows
from .vector_nodes import LIMITS, TYPES, add_vector, pieces_of, scalars


def plan_rotary(network: Network, tag: int, node: Rotary) -> NodePlan:
    """Five VECTORs a block."""
    x, cos, sin, out = (network.tensor(name) for name in (*node.inputs, node.output))
    n = cos.shape[2]
    heads, half = x.shape[1] * x.shape[2] // n, n // 2
    blocks = network.row_blocks(out)
    row = 4 * heads * n
    size = row * max(block.height for block in blocks)
    plan = NodePlan(node, "vector", node.output, scratch=2 * size)

    def emit(e: Emitter, block: Block) -> None:
        source, target = e.place(x.name), e.place(out.name)
        parts = [Place(e.scratch(tag) + part * size, row, 4 * n, heads, 4 * n, block.height) for part in (0, 1)]
        rows = {"source": isa.MEMORY, "tiles": 1, "wy": 1, "wx": 1, "y_step": 1, "x_step": 1, "ny": block.height,
                "nx": heads, "width": heads, **network.clip(out, block.y)}

        def product(table: str, part: int, of: int, first: int, count: int) -> None:
            """x from channel `of` on times the table from channel `first` on, `count` of them."""
            a, b = source.operand("a", block.y), e.place(table).operand("b", block.y)
            low, high = LIMITS["int32"]
            e.program.add(
                isa.VECTOR, [*source.regions(block.y, block.end), *e.place(table).regions(block.y, block.end)],
                parts[part].regions(0, block.height), tag=tag, **rows, **a | b | {
                    "a": (a["a"] + of) % (1 << 24), "b": (b["b"] + first) % (1 << 24)},
                reduce=isa.PRODUCT, operands=1, in_type=isa.INT8, out_type=isa.INT32, low=low, high=high,
                params=scalars(e, [(x.zero_point, 1), (network.tensor(table).zero_point, 1)], 0), y_start=block.y,
                height=x.shape[0], elems=count, elems_last=count, a_row=source.row, a_pixel=n,
                b_row=e.place(table).row, b_pixel=0, c=parts[part].address + 4 * first, c_row=row, c_pixel=4 * n)

        product(cos.name, 0, 0, 0, n)
        product(sin.name, 1, half, 0, half)
        product(sin.name, 1, 0, half, half)
        for first, sign in ((0, -1), (half, 1)):
            add_vector(
                e, tag, out.name, block, [region for part in parts for region in part.regions(0, block.height)],
                first > 0, **rows | {
                    "a": parts[0].address + 4 * first, "a_row": row, "a_pixel": 4 * n,
                    "b": parts[1].address + 4 * first, "b_row": row, "b_pixel": 4 * n, "operands": 1,
                    "in_type": isa.INT32, "out_type": TYPES[out.dtype], "height": block.height, "elems": half,
                    "elems_last": half,
                    "params": scalars(e, [(0, node.multiplier[0]), (0, sign * node.multiplier[1])], node.shift),
                    "rounding": node.rounding, "low": node.low, "high": node.high, "zero_point": out.zero_point,
                    "c": target.at(block.y) + first * item_bytes(out), "c_pixel": n * item_bytes(out)})

    def needs(block: Block) -> list[Rows]:
        return [(name, block.y, block.end) for name in node.inputs]
    return pieces_of(network, plan, tag, emit, needs, blocks)
