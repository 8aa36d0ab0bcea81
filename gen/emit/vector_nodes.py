"""Operators on the vector unit: VECTOR instructions with their operands in memory."""

from collections.abc import Callable
from functools import partial

from systolith.gen.graph import Add, Lookup, Mul, Pool2D, Rescale, Tensor
from systolith.gen.schedule.blocks import Block, even
from systolith.rtl import isa

from .constants import scalar_parameters
from .places import Place, item_bytes
from .plan import Emitter, Network, NodePlan, Piece, Rows
from .program import Issued, Region

TYPES = {"int8": isa.INT8, "int16": isa.INT16, "int32": isa.INT32}
LIMITS = {"int8": (-128, 127), "int16": (-32768, 32767), "int32": (-1 << 31, (1 << 31) - 1)}
"""Lowest and highest value of each type."""


def output_fields(place: Place, block: Block) -> dict[str, int]:
    """Fields of a VECTOR that makes a block of a tensor."""
    return {"c": place.at(block.y, block.x), "c_row": place.row, "c_pixel": place.pixel, "ny": block.height,
            "nx": block.width, **place.wrap("c")}


def lookup_fields(e: Emitter, lookup: Lookup | None) -> dict[str, int]:
    """Fields of a VECTOR whose output goes through a table."""
    return {"lookup": 1, "table": e.pool(e.network.keep(lookup.table.tobytes()))} if lookup else {}


def pieces_of(network: Network, plan: NodePlan, tag: int, emit: Callable[..., None],
              needs: Callable[[Block], list[Rows]], blocks: list[Block] | None = None) -> NodePlan:
    """The plan with a piece for each block; `emit` takes an Emitter and the block."""
    plan.pieces += [Piece(tag, block, needs(block), partial(emit, block=block))
                    for block in (network.row_blocks(network.tensor(plan.node.output)) if blocks is None else blocks)]
    return plan


def add_vector(e: Emitter, tag: int, tensor: str, block: Block, reads: list[Region], last: bool = True, /,
               **values: int) -> Issued:
    """A VECTOR on memory operands that makes a block of `tensor`; `last`: it completes it."""
    place, kind = e.place(tensor), e.network.tensor(tensor)
    low, high = LIMITS[kind.dtype]
    fields = {"source": isa.MEMORY, "tiles": 1, "wy": 1, "wx": 1, "y_step": 1, "x_step": 1, "low": low, "high": high,
              "out_type": TYPES[kind.dtype], **output_fields(place, block), **e.network.clip(kind, block.y)} | values
    done = e.program.add(isa.VECTOR, reads, place.regions(block.y, block.end, block.x, block.width), tag=tag, **fields)
    if last:
        e.wrote(done, tensor, block)
    return done


def scalars(e: Emitter, operands: list[tuple[int, int]], shift: int) -> int:
    """Address of parameters for memory operands, given as (zero point, multiplier)."""
    return e.pool(e.network.keep(scalar_parameters(operands, shift, e.config)))


def _elements(places: list[Place], out: Tensor) -> tuple[int, int]:
    """How an elementwise operator walks a row: (runs, elements a run), long runs where all lie without gaps."""
    runs, elements = 1, out.shape[1] * out.shape[2]
    if not all(place.whole_pixels for place in places):
        runs, elements = out.shape[1], out.shape[2]
    while elements > 65535 or out.shape[1] % runs:
        runs += 1
        elements = out.shape[1] * out.shape[2] // runs
    return runs, elements


def _operands(e: Emitter, names: list[str], out: Tensor, target: Place, size: int, block: Block,
              ) -> tuple[dict[str, int], list[Region]]:
    """Loops of a VECTOR on one or two tensors of the shape of `out`, or with axes of length 1 that are repeated; its
    output's elements are `size` bytes and go to `target`. And what it reads."""
    inputs, places = [e.network.tensor(name) for name in names], [e.place(name) for name in names]
    runs, elements = out.shape[1], out.shape[2]
    if all(t.shape == out.shape for t in inputs):
        runs, elements = _elements([target, *places], out)
    single = any(t.shape[2] != out.shape[2] for t in inputs)  # a channel at a time
    fields = {"in_type": TYPES[inputs[0].dtype], "operands": len(names) - 1, "height": out.shape[0], "nx": runs,
              "y_start": block.y, "width": runs, "tiles": out.shape[2] if single else 1,
              "elems": 1 if single else elements, "elems_last": 1 if single else elements, "c_tile": size,
              "c_pixel": target.pixel if runs == out.shape[1] else elements * size}
    reads = []
    for letter, t, place in zip("ab", inputs, places, strict=False):
        rows = (block.y, block.end) if t.shape[0] > 1 else (0, 1)
        reads += place.regions(*rows)
        step = place.pixel if runs == out.shape[1] else elements * item_bytes(t)
        fields |= {**place.operand(letter, rows[0]), f"{letter}_row": place.row if t.shape[0] > 1 else 0,
                   f"{letter}_pixel": step if t.shape[1] > 1 else 0,
                   f"{letter}_tile": item_bytes(t) if t.shape[2] > 1 else 0}
    return fields, reads


def _elementwise(e: Emitter, tag: int, names: list[str], tensor: str, block: Block, **values: int) -> Issued:
    """A VECTOR on tensors of the output's shape, or with axes of length 1."""
    out = e.network.tensor(tensor)
    fields, reads = _operands(e, names, out, e.place(tensor), item_bytes(out), block)
    return add_vector(e, tag, tensor, block, reads, **fields | values)


def _same_rows(names: tuple[str, ...], network: Network) -> Callable[[Block], list[Rows]]:
    """An elementwise operator's needs."""
    return lambda block: [(name, block.y, block.end) if network.tensor(name).shape[0] > 1 else (name, 0, 1)
                          for name in names]


def plan_add(network: Network, tag: int, node: Add) -> NodePlan:
    """Two memory operands, whole rows at a time."""
    a, b, out = (network.tensor(name) for name in (*node.inputs, node.output))
    lookup = network.lookup_after(node)
    plan = NodePlan(node, "vector", network.target(node))

    def emit(e: Emitter, block: Block) -> None:
        params = scalars(e, [(a.zero_point, node.multiplier[0]), (b.zero_point, node.multiplier[1])], node.shift)
        _elementwise(e, tag, list(node.inputs), plan.output, block, params=params, rounding=node.rounding,
                     low=node.low, high=node.high, zero_point=out.zero_point, **lookup_fields(e, lookup))
    return pieces_of(network, plan, tag, emit, _same_rows(node.inputs, network))


def plan_mul(network: Network, tag: int, node: Mul) -> NodePlan:
    """The product as int32, then its rescaling."""
    a, b, out = (network.tensor(name) for name in (*node.inputs, node.output))
    blocks = network.row_blocks(out)
    row = 4 * out.shape[1] * out.shape[2]
    plan = NodePlan(node, "vector", node.output, scratch=row * max(block.height for block in blocks))

    def emit(e: Emitter, block: Block) -> None:
        at = e.scratch(tag)
        middle = Place(at, row, row // out.shape[1], out.shape[1], row // out.shape[1], block.height)
        low, high = LIMITS["int32"]
        fields, reads = _operands(e, list(node.inputs), out, middle, 4, block)
        e.program.add(isa.VECTOR, reads, middle.regions(0, block.height), tag=tag,
                      **{"source": isa.MEMORY, "reduce": isa.PRODUCT, "wy": 1, "wx": 1, "y_step": 1, "x_step": 1,
                         "params": scalars(e, [(a.zero_point, 1), (b.zero_point, 1)], 0), "out_type": isa.INT32,
                         "low": low, "high": high, "c": at, "c_row": row, "ny": block.height,
                         **network.clip(out, block.y)} | fields)
        add_vector(e, tag, node.output, block, middle.regions(0, block.height), a=at, a_row=row, a_pixel=middle.pixel,
                height=block.height, width=out.shape[1], elems=out.shape[2], elems_last=out.shape[2],
                in_type=isa.INT32, params=scalars(e, [(0, node.multiplier)], node.shift), rounding=node.rounding,
                low=node.low, high=node.high, zero_point=out.zero_point)
    return pieces_of(network, plan, tag, emit, _same_rows(node.inputs, network), blocks)


def plan_rescale(network: Network, tag: int, node: Rescale) -> NodePlan:
    """Element by element; with padding, what lies outside comes out as the zero point."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    top, left = node.padding[:2]
    lookup = network.lookup_after(node)
    plan = NodePlan(node, "vector", network.target(node))
    common = {"rounding": node.rounding, "low": node.low, "high": node.high, "zero_point": out.zero_point}

    def needs(block: Block) -> list[Rows]:
        first = min(max(block.y - top, 0), x.shape[0] - 1)
        return [(x.name, first, max(min(block.end - top, x.shape[0]), first + 1))]

    def emit(e: Emitter, block: Block) -> None:
        params = scalars(e, [(x.zero_point, node.multiplier)], node.shift)
        if not any(node.padding):
            _elementwise(e, tag, [x.name], plan.output, block, params=params, **common, **lookup_fields(e, lookup))
        else:
            (_, first, end), = needs(block)
            add_vector(e, tag, plan.output, block, e.place(x.name).regions(first, end), **pixel_fields(e, x, first),
                    y_start=block.y - top, x_start=-left, params=params, **common, **lookup_fields(e, lookup))
    return pieces_of(network, plan, tag, emit, needs)


def pixel_fields(e: Emitter, x: Tensor, first: int) -> dict[str, int]:
    """Operand A, whole pixels of all channels at a time, from row `first` on."""
    place = e.place(x.name)
    return {**place.operand("a", first), "a_row": place.row, "a_pixel": place.pixel, "height": x.shape[0],
            "width": x.shape[1], "elems": x.shape[2], "elems_last": x.shape[2], "in_type": TYPES[x.dtype]}


def plan_lookup(network: Network, tag: int, node: Lookup) -> NodePlan:
    """A table by itself, where no instruction before it can do it."""
    (name,) = node.inputs
    plan = NodePlan(node, "vector", node.output)

    def emit(e: Emitter, block: Block) -> None:
        _elementwise(e, tag, [name], node.output, block, params=scalars(e, [(0, 1)], 0), **lookup_fields(e, node))
    return pieces_of(network, plan, tag, emit, _same_rows(node.inputs, network))


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


def plan_pool(network: Network, tag: int, node: Pool2D) -> NodePlan:
    """A window reduction; where an average leaves out the padding, a block for each number of elements inside."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    zero_in, zero_out = (0, 0) if node.raw else (x.zero_point, out.zero_point)
    blocks = {block: (node.multiplier, node.shift) for block in network.row_blocks(out)}
    if node.exclude_padding:
        scales = {count: (multiplier, shift) for count, multiplier, shift in node.border} | {0: (0, 0)}
        rows, columns = ([_border_groups(out.shape[i], x.shape[i], node.strides[i], node.padding[i], node.kernel[i],
                                         node.dilations[i]) for i in (0, 1)])
        blocks = {Block(y, left, h, w): scales[cy * cx] for y, h, cy in rows for left, w, cx in columns}
    plan = NodePlan(node, "vector", node.output)
    if out.shape[:2] == (1, 1) and not any(node.padding) and not node.exclude_padding:
        pieces = 1 if network.stripes is None else network.stripes.get(out.name, 1)
        if pieces > 1 and node.kernel[0] > 1:
            return _plan_global(network, tag, node, plan, even(node.kernel[0], min(pieces, node.kernel[0])))

    def needs(block: Block) -> list[Rows]:
        start = block.y * node.strides[0] - node.padding[0]
        end = start + (block.height - 1) * node.strides[0] + (node.kernel[0] - 1) * node.dilations[0] + 1
        first = min(max(start, 0), x.shape[0] - 1)
        return [(x.name, first, max(min(end, x.shape[0]), first + 1))]

    clip = {"clip": 2} if network.tokens and network.tokens == x.shape[0] == node.kernel[0] else {}

    def emit(e: Emitter, block: Block) -> None:
        (_, first, end), = needs(block)
        multiplier, shift = blocks[block]
        add_vector(e, tag, node.output, block, e.place(x.name).regions(first, end), **pixel_fields(e, x, first),
                params=scalars(e, [(zero_in, multiplier)], shift), zero_point=zero_out,
                reduce=isa.MAX if node.mode == "max" else isa.SUM, rounding=node.rounding, low=node.low, high=node.high,
                y_start=block.y * node.strides[0] - node.padding[0],
                x_start=block.x * node.strides[1] - node.padding[1], y_step=node.strides[0], x_step=node.strides[1],
                wy=node.kernel[0], wx=node.kernel[1], wy_step=node.dilations[0], wx_step=node.dilations[1], **clip)
    return pieces_of(network, plan, tag, emit, needs, list(blocks))


def _plan_global(network: Network, tag: int, node: Pool2D, plan: NodePlan, stripes: list[tuple[int, int]]) -> NodePlan:
    """One window over everything: the sum (or maximum) of a stripe (first row, rows), and of that and those before, so
    that the rows need not all be there at the same time."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    zero_in, zero_out = (0, 0) if node.raw else (x.zero_point, out.zero_point)
    size = 4 * out.shape[2]
    plan.scratch = 2 * size  # of all stripes before, and of the last one
    common = {"reduce": isa.MAX if node.mode == "max" else isa.SUM, "wy_step": 1, "wx_step": 1, "ny": 1, "nx": 1,
              "elems": out.shape[2], "elems_last": out.shape[2]}

    def reduce_stripe(e: Emitter, number: int, first: int, rows: int) -> None:
        part = Region(e.scratch(tag) + min(number, 1) * size, size)
        low, high = LIMITS["int32"]
        e.program.add(isa.VECTOR, e.place(x.name).regions(first, first + rows), [part], tag=tag,
                      **{**pixel_fields(e, x, first), "source": isa.MEMORY, "tiles": 1, "out_type": isa.INT32,
                         "params": scalars(e, [(zero_in, 1)], 0), "wy": rows, "wx": node.kernel[1], "low": low,
                         "high": high, "c": part.address, **common, "y_start": first,
                         "clip": 2 * (network.tokens == x.shape[0])})

        if number == 0:
            return
        at = e.scratch(tag)
        both = {**common, "a": at, "a_row": size, "a_pixel": size, "height": 2, "width": 1, "wy": 2, "wx": 1,
                "in_type": isa.INT32}
        if number < len(stripes) - 1:
            e.program.add(isa.VECTOR, [Region(at, 2 * size)], [Region(at, size)], tag=tag, source=isa.MEMORY, tiles=1,
                          out_type=isa.INT32, params=scalars(e, [(0, 1)], 0), low=low, high=high, c=at, **both)
            return
        add_vector(e, tag, node.output, Block(0, 0, 1, 1), [Region(at, 2 * size)], **both,
                   params=scalars(e, [(0, node.multiplier)], node.shift), zero_point=zero_out, rounding=node.rounding,
                   low=node.low, high=node.high)

    for number, (first, rows) in enumerate(stripes):
        plan.pieces.append(Piece(tag, Block(0, 0, 1, 1), [(x.name, first, first + rows)],
                                 partial(reduce_stripe, number=number, first=first, rows=rows)))
    return plan
