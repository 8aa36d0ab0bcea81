"""Operators that move elements without changing them: VECTOR instructions with other steps and strides."""

from functools import partial

from systolith.gen.errors import UserError
from systolith.gen.graph import Append, Concat, Constant, Embedding, Slice, Tensor, Transpose
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .places import item_bytes
from .plan import Emitter, Network, NodePlan, Part, Piece, Rows
from .vector_nodes import TYPES, add_vector, pieces_of, pixel_fields, scalars


def identity(e: Emitter) -> int:
    """Address of parameters that change nothing."""
    return scalars(e, [(0, 1)], 0)


def plan_constant(network: Network, tag: int, node: Constant) -> NodePlan:
    """Moved in from external memory when it is needed; without one it is in the unified memory for good."""
    plan = NodePlan(node, "none", node.output, make_weights=lambda: node.values.tobytes())
    if not network.config.external_bytes:
        return plan
    plan.unit = "move_in"

    def emit(e: Emitter, block: Block) -> None:
        place, word = e.place(node.output), e.config.word_bytes
        for y, height in place.runs(block.y, block.end):
            done = e.program.add(
                isa.MOVE_IN, (), place.regions(y, y + height), tag=tag, a=place.at(y), blocks=1,
                external=e.external(tag) + y * place.row, block_bytes=-(-height * place.row // word) * word)
            e.wrote(done, node.output, Block(y, 0, height, block.width))

    out = network.tensor(node.output)
    blocks = network.row_blocks(out) if out.bytes // out.shape[0] % network.config.word_bytes == 0 else [
        Block(0, 0, out.shape[0], out.shape[1])]  # whole words only
    return pieces_of(network, plan, tag, emit, lambda block: [], blocks)


def plan_embedding(network: Network, tag: int, node: Embedding) -> NodePlan:
    """Rows of a table in external memory, moved in by number."""
    config, out, (name,) = network.config, network.tensor(node.output), node.inputs
    what, row = node.source or node.name, out.channel_bytes
    if not config.external_bytes or not config.activation_products:
        raise UserError(f"{what}: the table of an embedding lies in external memory and is read by number, which "
                        f"{config.name} cannot; set external_bytes=8 and activation_products=1")
    if row % config.word_bytes:
        raise UserError(f"{what}: rows of {row} bytes are no whole words of the memory ({config.word_bytes} bytes); "
                        "pad the table")
    plan = NodePlan(node, "move_in", node.output, make_weights=lambda: node.table.tobytes())

    def emit(e: Emitter, block: Block) -> None:
        numbers, place = e.place(name), e.place(node.output)
        for y, height in place.runs(block.y, block.end):
            done = e.program.add(
                isa.MOVE_IN, numbers.regions(y, y + height), place.regions(y, y + height), tag=tag, a=place.at(y),
                c=numbers.at(y), blocks=height, indexed=1, external=e.external(tag), block_bytes=row, step=place.row,
                external_step=row)
            e.wrote(done, node.output, Block(y, 0, height, block.width))
    return pieces_of(network, plan, tag, emit, lambda block: [(name, block.y, block.end)])


def plan_append(network: Network, tag: int, node: Append) -> NodePlan:
    """A copy to row LENGTH - 1."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    if not network.config.clips:
        raise UserError(f"{node.source or node.name} is kept row by row, for which {network.config.name} has no length "
                        "register; set softmax_lanes=4 and norm_lanes=4")

    def emit(e: Emitter, block: Block) -> None:
        target = e.place(out.name)
        copied = add_vector(e, tag, out.name, block, e.place(x.name).regions(0, 1), **pixel_fields(e, x, 0),
                            params=identity(e), ny=1, clip=0, c=(target.address - target.row) % (1 << 24), c_register=1)
        copied.before = (isa.ADDRESS(register=1, scaled=1, value=target.row),)
    return pieces_of(network, NodePlan(node, "vector", node.output), tag, emit, lambda block: [(x.name, 0, 1)],
                     [Block(0, 0, *out.shape[:2])])


def plan_slice(network: Network, tag: int, node: Slice) -> NodePlan:
    """A copy, where the output cannot be a part of the input's bytes."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    (sy, sx, sc), (dy, dx, dc) = node.start, node.step

    def needs(block: Block) -> list[Rows]:
        return [(x.name, sy + block.y * dy, sy + (block.end - 1) * dy + 1)]

    def emit(e: Emitter, block: Block) -> None:
        (_, first, end), = needs(block)
        fields = pixel_fields(e, x, first) | {"elems": out.shape[2], "elems_last": out.shape[2]}
        if dc > 1:  # a channel at a time
            fields |= {"tiles": out.shape[2], "a_tile": dc * item_bytes(x), "c_tile": item_bytes(x), "elems": 1,
                       "elems_last": 1}
        fields["a"] = (fields["a"] + sc * item_bytes(x)) % (1 << 24)
        add_vector(e, tag, node.output, block, e.place(x.name).regions(first, end), params=identity(e),
                y_start=sy + block.y * dy, x_start=sx, y_step=dy, x_step=dx, **fields)
    return pieces_of(network, NodePlan(node, "vector", node.output), tag, emit, needs)


def plan_transpose(network: Network, tag: int, node: Transpose) -> NodePlan:
    """An element at a time, unless channels stay channels."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)

    def needs(block: Block) -> list[Rows]:
        return [(x.name, block.y, block.end)] if node.permutation[0] == 0 else [(x.name, 0, x.shape[0])]

    def emit(e: Emitter, block: Block) -> None:
        place, size = e.place(x.name), item_bytes(x)
        steps = [(place.row, place.pixel, size)[axis] for axis in node.permutation]
        fields = {"a": place.address, "a_row": steps[0], "a_pixel": steps[1], "height": out.shape[0],
                  "width": out.shape[1], "y_start": block.y, "in_type": TYPES[x.dtype], "elems": out.shape[2],
                  "elems_last": out.shape[2]}
        if node.permutation[2] != 2:
            fields |= {"tiles": out.shape[2], "a_tile": steps[2], "c_tile": size, "elems": 1, "elems_last": 1}
        (_, first, end), = needs(block)
        if node.permutation[0] != 0:
            fields |= {"first": 0, "clip": 0}  # its rows are no rows of the input
        add_vector(e, tag, node.output, block, place.regions(first, end), params=identity(e), **fields)
    return pieces_of(network, NodePlan(node, "vector", node.output), tag, emit, needs)


def plan_concat(network: Network, tag: int, node: Concat) -> NodePlan:
    """Copies of those inputs that are not made in their place."""
    out = network.tensor(node.output)
    plan = NodePlan(node, "none", node.output)
    start = 0
    for name in node.inputs:
        x = network.tensor(name)
        view = network.views.get(name)
        if view is None or view.reshaped or view.of != node.output:
            plan.unit = "vector"
            offset = [0, 0, 0]
            offset[node.axis] = start
            _copy_into(network, plan, tag, x, out, (offset[0], offset[1], offset[2]))
        start += x.shape[node.axis]
    plan.pieces.sort(key=lambda piece: piece.block.y)
    return plan


def _copy_into(network: Network, plan: NodePlan, tag: int, x: Tensor, out: Tensor, start: tuple[int, int, int]) -> None:
    """Pieces that copy `x` to where it stands in `out`."""
    def emit(e: Emitter, source: Block, target: Block) -> None:
        at = e.place(out.name).at(target.y, target.x) + start[2] * item_bytes(x)
        copied = add_vector(e, tag, out.name, target, e.place(x.name).regions(source.y, source.end), False,
                         **pixel_fields(e, x, source.y), y_start=source.y, params=identity(e), c=at)
        e.wrote_part(copied, out.name, Part(range(target.y, target.end), range(target.x, target.x + target.width),
                                            range(start[2], start[2] + x.shape[2])))

    for block in network.row_blocks(x):
        target = Block(start[0] + block.y, start[1], block.height, block.width)
        plan.pieces.append(Piece(tag, target, [(x.name, block.y, block.end)],
                                 partial(emit, source=block, target=target)))
