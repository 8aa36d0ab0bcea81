"""Tensors to streams of pages and back: a PACK or an UNPACK for each band of tiles. Inputs that come row by row."""

from functools import partial

from systolith.gen.graph import Feed, Pack, Unpack
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .places import Place
from .plan import Emitter, Network, NodePlan, Piece
from .program import STREAM_ROWS, STREAMS_FROM, Region


def _bands(network: Network, node: Pack | Unpack) -> list[Block]:
    height, width, _ = network.tensor(node.output).shape
    return [Block(y, 0, min(node.tile[0], height - y), width) for y in range(0, height, node.tile[0])]


def _fields(e: Emitter, tag: int, node: Pack | Unpack, letter: str, place: Place, block: Block) -> dict[str, int]:
    tensor = e.network.tensor(node.output)
    stream = node.output if isinstance(node, Pack) else node.inputs[0]
    columns = node.tile[1]
    across = -(-block.width // columns)
    return {"tag": tag, letter: place.at(block.y), "b": e.layout.pages, "rows": block.height, "bands": 1,
            "columns": columns, "columns_last": block.width - (across - 1) * columns, "across": across,
            "channels": tensor.shape[2], "stream": e.layout.streams[stream], "table_set": node.table_set,
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
        place, opens = e.place(source), not block.y
        done = e.program.add(
            isa.PACK, place.regions(block.y, block.end),
            [_bytes(e, node.output, 0, STREAM_ROWS) if opens else _bytes(e, node.output, block.y, block.end)], None,
            "unpack" if e.layout.tight else "", open=int(opens), raw=int(node.raw), readers=node.readers,
            **_fields(e, tag, node, "a", place, block))
        e.moved_tiles.append((done, block.y))

    plan.pieces = [Piece(tag, block, [(source, block.y, block.end)], partial(emit, block=block))
                   for block in _bands(network, node)]
    return plan


def plan_unpack(network: Network, tag: int, node: Unpack) -> NodePlan:
    """Each band when its rows are needed."""
    stream = node.inputs[0]
    plan = NodePlan(node, "unpack", node.output)

    def emit(e: Emitter, block: Block) -> None:
        place = e.place(node.output)
        done = e.program.add(isa.UNPACK, [_bytes(e, stream, block.y, block.end)], place.regions(block.y, block.end),
                             reader=node.reader, **_fields(e, tag, node, "c", place, block))
        e.moved_tiles.append((done, block.y))
        e.wrote(done, node.output, block)

    plan.pieces = [Piece(tag, block, [(stream, block.y, block.end)], partial(emit, block=block))
                   for block in _bands(network, node)]
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
