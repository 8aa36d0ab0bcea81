"""Tensors to streams of pages and back: a PACK or an UNPACK for each band of tiles. Inputs that come row by row."""

from functools import partial

from systolith.gen.graph import Feed, Pack, Unpack
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .places import Place
from .plan import Emitter, Network, NodePlan, Piece
from .program import STREAM_ROWS, STREAMS_FROM, Region


def _blocks(network: Network, node: Pack | Unpack) -> list[Block]:
    """What one piece moves: a band of tiles or, for `whole_stripes`, the bands of a stripe."""
    out = network.tensor(node.output)
    (height, width, _), rows = out.shape, node.tile[0]
    if node.whole_stripes:
        rows *= max(1, height // network.blocks(out) // rows)
    return [Block(y, 0, min(rows, height - y), width) for y in range(0, height, rows)]


def _instructions(node: Pack | Unpack, block: Block) -> list[Block]:
    """A block's bands of full tiles, and the last one where it is not full."""
    full = block.height // node.tile[0] * node.tile[0]
    return [part for part in (Block(block.y, 0, full, block.width),
                              Block(block.y + full, 0, block.height - full, block.width)) if part.height]


def _fields(e: Emitter, tag: int, node: Pack | Unpack, letter: str, place: Place, block: Block) -> dict[str, int]:
    tensor = e.network.tensor(node.output)
    stream = node.output if isinstance(node, Pack) else node.inputs[0]
    columns = node.tile[1]
    across, rows = -(-block.width // columns), min(node.tile[0], block.height)
    return {"tag": tag, letter: place.at(block.y), "b": e.layout.pages, "rows": rows, "bands": block.height // rows,
            "columns": columns, "columns_last": block.width - (across - 1) * columns, "across": across,
            "channels": tensor.channel_bytes, "stream": e.layout.streams[stream], "table_set": node.table_set,
            "centre": node.centre, "close": int(block.end == tensor.shape[0]), "limit": e.layout.page_limit,
            "outside": e.layout.outside,
            f"{letter}_row": place.row, f"{letter}_pixel": place.pixel, **place.wrap(letter)}


def _bytes(e: Emitter, stream: str, first: int, end: int) -> Region:
    """Stands for rows of a stream where the program looks for what depends on what."""
    at = STREAMS_FROM + e.layout.streams[stream] * STREAM_ROWS
    return Region(at + first, end - first)


def plan_pack(network: Network, tag: int, node: Pack) -> NodePlan:
    """Each band as soon as its rows are there."""
    source = node.inputs[0]
    plan = NodePlan(node, "pack", node.output)

    def emit(e: Emitter, block: Block) -> None:
        place = e.place(source)
        for part in _instructions(node, block):
            opens = not part.y
            done = e.program.add(
                isa.PACK, place.regions(part.y, part.end),
                [_bytes(e, node.output, 0, STREAM_ROWS) if opens else _bytes(e, node.output, part.y, part.end)], None,
                "unpack" if e.layout.tight else "", open=int(opens), raw=int(node.raw), readers=node.readers,
                **_fields(e, tag, node, "a", place, part))
            e.moved_tiles += [(done, y) for y in range(part.y, part.end, node.tile[0])]

    plan.pieces = [Piece(tag, block, [(source, block.y, block.end)], partial(emit, block=block))
                   for block in _blocks(network, node)]
    return plan


def plan_unpack(network: Network, tag: int, node: Unpack) -> NodePlan:
    """Each band when its rows are needed."""
    stream = node.inputs[0]
    plan = NodePlan(node, "unpack", node.output)

    def emit(e: Emitter, block: Block) -> None:
        place = e.place(node.output)
        for part in _instructions(node, block):
            done = e.program.add(isa.UNPACK, [_bytes(e, stream, part.y, part.end)], place.regions(part.y, part.end),
                                 reader=node.reader, **_fields(e, tag, node, "c", place, part))
            e.moved_tiles += [(done, y) for y in range(part.y, part.end, node.tile[0])]
            e.wrote(done, node.output, part)

    plan.pieces = [Piece(tag, block, [(stream, block.y, block.end)], partial(emit, block=block))
                   for block in _blocks(network, node)]
    return plan


def plan_feed(network: Network, tag: int, node: Feed) -> NodePlan:
    """A row at a time, as soon as there is a place for it."""
    out = network.tensor(node.output)
    plan = NodePlan(node, "host", node.output)

    def emit(e: Emitter, block: Block) -> None:
        place = e.place(node.output)
        e.program.feed(node.inputs[0], block.y, place.at(block.y), place.regions(block.y, block.end))

    plan.pieces = [Piece(tag, Block(y, 0, 1, out.shape[1]), [], partial(emit, block=Block(y, 0, 1, out.shape[1])))
                   for y in range(out.shape[0])]
    return plan
