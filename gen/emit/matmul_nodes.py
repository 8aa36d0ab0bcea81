"""Products of two activations on the array: the second one's rows are read as weights, out of the tensor as it lies."""

from functools import partial

from systolith.gen.errors import UserError
from systolith.gen.graph import MatMul
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .constants import tile_parameters
from .places import Place, item_bytes
from .plan import Emitter, Network, NodePlan, Part, Piece
from .program import Region
from .vector_nodes import TYPES


def plan_matmul(network: Network, tag: int, node: MatMul) -> NodePlan:
    """An ARRAY and a VECTOR for each block of rows of each head."""
    config, out = network.config, network.tensor(node.output)
    a, b = (network.tensor(name) for name in node.inputs)
    _check(network, node)
    inner, (heads, groups, columns) = node.inner, node.sizes(a.shape, b.shape, out.shape)
    tiles, kc = -(-columns // config.cols), -(-inner // config.rows)
    plan = NodePlan(node, "array", node.output,
                    make_constants=lambda: tile_parameters(tiles, node.multiplier, node.shift, config),
                    fill=inner * columns / (tiles * kc * config.macs))

    def emit(e: Emitter, block: Block) -> None:
        left, right, target = e.place(a.name), e.place(b.name), e.place(out.name)
        start = right.address + block.x // (heads // groups) * (b.shape[1] * b.shape[2] // groups)
        if right.ring or any(step % config.word_bytes for step in (start, right.row)):
            raise UserError(f"{node.source or node.name} reads {b.name} where it does not lie in whole words of the "
                            f"memory; give it a tensor of its own, with rows of multiples of {config.word_bytes} bytes")
        steps = {"b_kc": config.rows * right.row, "b_tile": config.cols}
        if node.transposed:
            steps = {"b_kc": config.rows, "b_tile": config.cols * right.row, "transposed": 1}
        source = left.operand("a", block.y)
        source["a"] = (source["a"] + block.x * inner) % (1 << 24)
        array = e.program.add(
            isa.ARRAY, [*left.regions(block.y, block.end), *right.regions(0, b.shape[0])],
            tag=tag, **source, b=start, strided=1, b_row=right.row, **steps, rows_y=block.height, rows_x=1, ky=1, kx=1,
            kc=kc, tiles=tiles, pad=a.zero_point, centred=1, y_start=block.y, height=a.shape[0], y_step=1,
            row_bytes=inner, row_pitch=left.row, kc_step=config.rows, **network.clip(out, block.y))
        at, region = e.constants(tag)
        size = item_bytes(out)
        vector = e.program.add(
            isa.VECTOR, [region], _head(target, block, columns * size), array, tag=tag, params=at,
            source=isa.ACCUMULATORS, rounding=node.rounding, tiles=tiles, elems=min(config.cols, columns),
            elems_last=columns - (tiles - 1) * config.cols, wy=1, wx=1, ny=block.height, nx=1, low=node.low,
            high=node.high, c=target.at(block.y) + block.x * columns * size, c_tile=config.cols * size,
            c_row=target.row, c_pixel=target.pixel, **target.wrap("c"), in_type=isa.INT32, out_type=TYPES[out.dtype],
            zero_point=out.zero_point, **array.clip())
        positions, channels = range(block.x, block.x + 1), range(columns)
        if out.shape[1] == 1:
            positions, channels = range(1), range(block.x * columns, (block.x + 1) * columns)
        e.wrote_part(vector, out.name, Part(range(block.y, block.end), positions, channels))

    for rows in network.array_blocks(out, (out.shape[0], 1), 0):
        for head in range(heads):
            block = Block(rows.y, head, rows.height, 1)
            plan.pieces.append(Piece(tag, block, [(a.name, rows.y, rows.end), (b.name, 0, b.shape[0])],
                                     partial(emit, block=block), passes=tiles * kc))
    return plan


def _head(place: Place, block: Block, size: int) -> list[Region]:
    """What a block of rows of head `block.x` touches, of `size` bytes a row."""
    return [Region(region.address + block.x * size, region.size - place.run * place.width + size, True)
            for region in place.regions(block.y, block.end)]


def _check(network: Network, node: MatMul) -> None:
    """Raises UserError for what the array cannot multiply."""
    config, what = network.config, node.source or node.name
    a, b = (network.tensor(name) for name in node.inputs)
    if not config.activation_products:
        raise UserError(f"{what} multiplies two activations, which {config.name} cannot; set activation_products=1")
    if config.cols != config.word_bytes or (node.transposed and config.rows != config.cols):
        raise UserError(f"{what} multiplies two activations, which takes an array of as many rows and columns as a "
                        f"word of the memory has bytes ({config.word_bytes}), not {config.rows} x {config.cols}")
    if (a.dtype, b.dtype, b.zero_point) != ("int8", "int8", 0):
        raise UserError(f"{what} multiplies {a.dtype} and {b.dtype} with zero point {b.zero_point}; the array takes "
                        "int8, and a zero point in the first operand only")
    size = b.shape[1] * b.shape[2] // node.sizes(a.shape, b.shape, network.tensor(node.output).shape)[1]
    if size % config.word_bytes:
        raise UserError(f"{what} reads heads of {size} channels; they must be multiples of {config.word_bytes}")
    if not all(network.tensor(name).shape[1] == 1 or network.whole_pixels(name)
               for name in (a.name, b.name, node.output)):
        raise UserError(f"{what} takes whole rows; make its operands tensors of their own")
