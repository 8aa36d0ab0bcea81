"""What the operators of a graph become: pieces of work, each a few instructions, and the constants they read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from systolith.gen.graph import Concat, Constant, Feed, Graph, Lookup, Node, Pack, Reshape, Slice, Tensor, Unpack
from systolith.gen.passes.shorten import tokens_of
from systolith.gen.schedule.blocks import Block, array_blocks, row_blocks
from systolith.rtl import isa
from systolith.rtl.config import Config

from .places import Place, View, find_views, place
from .program import WEIGHT_FREE, WEIGHT_READY, Issued, Program, Region

Rows = tuple[str, int, int]
"""A tensor's rows from one up to, not including, another."""


@dataclass(frozen=True)
class Part:
    """Some rows, positions and channels of a tensor."""

    rows: range
    positions: range
    channels: range


@dataclass(eq=False)
class Piece:
    """A block of an operator's output, made by the instructions that `emit` adds."""

    node: int
    block: Block
    needs: list[Rows]
    emit: Callable[["Emitter"], None]
    tiles: int = 0
    """Weight tiles that it reads."""
    first_tile: int = 0
    """The first of them, among its operator's."""
    passes: int = 0
    """Tiles of activations that the array takes as weights."""

    def like(self, other: "Piece") -> bool:
        """Whether the other one uses the same rows of the same tensors: heads do."""
        return (self.node == other.node and self.block.y == other.block.y and self.block.end == other.block.end
                and self.needs == other.needs)


@dataclass(eq=False)
class NodePlan:
    """An operator cut into pieces."""

    node: Node
    unit: str
    """That makes its results; "none" where nothing is to be done."""
    output: str
    """Tensor that it makes: its own, or that of a Lookup that is done at once; "" where another plan does it."""
    pieces: list[Piece] = field(default_factory=list)
    make_constants: Callable[[], bytes] = bytes
    make_weights: Callable[[], bytes] = bytes
    scratch: int = 0
    """Bytes for values in between, while it runs."""
    fill: float = 1.0
    """Part of the array's multipliers that the tiles fill."""
    note: str = ""

    @cached_property
    def constants(self) -> bytes:
        """Parameter sets, and a depthwise convolution's weights; a multiple of the memory's word."""
        return self.make_constants()

    @cached_property
    def weights(self) -> bytes:
        """Weight tiles in the order of one piece's reading; each piece reads all of them."""
        return self.make_weights()


@dataclass
class Layout:
    """Addresses of everything. Before the memory is planned all is laid out from 0 on, with the sizes at hand."""

    pool: int = 0
    """Constants of a few bytes, for good."""
    ring: int = 0
    """The ring of weight tiles, or all tiles where there is no external memory."""
    ring_tiles: int = 0
    """0: all weights are in the unified memory."""
    buffers: dict[str, int] = field(default_factory=dict)
    """Tensors; `constants(node)` and `scratch(node)`."""
    rings: dict[str, int] = field(default_factory=dict)
    """Rows of those tensors that are rings."""
    pages: int = 0
    """The pages of streams: where they start, how many there are, and where those outside start."""
    page_limit: int = 0
    outside: int = 0
    tight: bool = True
    """A PACK waits for all UNPACKs that come before it, so that they have given back their pages."""
    streams: dict[str, int] = field(default_factory=dict)
    """Numbers of the streams."""


def constants(tag: int) -> str:
    """Name of the buffer of a node's constants."""
    return f"constants {tag}"


def scratch(tag: int) -> str:
    """Name of the buffer of a node's values in between."""
    return f"scratch {tag}"


MOST_BLOCKS = 65535
"""Blocks of a MOVE_IN."""
_MANY_TILES = 64
_NEAR = 8
"""Operators before a Concat at most whose output is made in its place, if memory is to be saved: what is made earlier
waits in memory of its own, so that the Concat's can be a ring."""

PIECES = 4
"""Blocks of an operator if they are not too small for it: what reads it can start when the first are there, so that
units overlap and the end of an operator is hidden behind the next one's start."""


class Network:
    """A graph and a machine, and what all operators share while they are planned.

    `stripes`: for tensors by name, in how many blocks they are made, so that few rows need to be kept; with None as is
    good for speed. `fixed`: tensors that the host or others write or read whole, where they are; what the machine keeps
    is among them.
    """

    def __init__(self, graph: Graph, config: Config, stripes: dict[str, int] | None = None,
                 fixed: set[str] | None = None) -> None:
        self.graph, self.config, self.stripes = graph, config, stripes
        self.fixed = ({*graph.inputs, *graph.outputs} if fixed is None else fixed) | {*graph.kept}
        self.views: dict[str, View] = find_views(graph, None if stripes is None else _NEAR)
        self.pads: dict[str, int] = {}
        """Bytes behind the rows of buffers, once it is known who works in place."""
        self.pool = bytearray()
        self._kept: dict[bytes, int] = {}
        readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        self._readers = readers
        self._makers = {node.output: node for node in graph.nodes}
        self.tokens = tokens_of(graph) if graph.mask and config.clips else 0
        """Rows of the tensors of a sequence that may be shorter; 0: its length is fixed."""
        self.held = set[str]() if config.external_bytes else {
            node.output for node in graph.nodes if isinstance(node, Constant)}
        """Tensors that lie in the unified memory for good."""
        self.streams = {node.inputs[0] for node in graph.nodes if isinstance(node, Feed | Unpack)} | {
            node.output for node in graph.nodes if isinstance(node, Pack)} | self.held
        """Tensors that have no rows in memory: streams of pages, and inputs that the host brings row by row."""

    def clip(self, tensor: Tensor, first: int) -> dict[str, int]:
        """Fields of an instruction that makes rows of a tensor from `first` on: rows past the length of a sequence are
        left out."""
        return {"first": first, "clip": 1} if self.tokens and tensor.shape[0] == self.tokens else {}

    def tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def sources(self, name: str, first: int, end: int) -> list[Rows]:
        """The tensors with pieces of their own that rows of a tensor come from."""
        if name in self.graph.inputs:
            return []
        node = self._makers[name]
        if isinstance(node, Reshape):
            height = self.tensor(node.inputs[0]).shape[0]
            return self.sources(node.inputs[0], *((first, end) if self.views[name].same_rows else (0, height)))
        if isinstance(node, Slice) and name in self.views and self.views[name].of == node.inputs[0]:
            start, step = node.start[0], node.step[0]
            return self.sources(node.inputs[0], start + first * step, start + (end - 1) * step + 1)
        out = [(name, first, end)]
        if isinstance(node, Concat):
            at = 0
            for part in node.inputs:
                height = self.tensor(part).shape[0]
                a, b = (max(first - at, 0), min(end - at, height)) if node.axis == 0 else (first, end)
                if a < b and part in self.views:
                    out += self.sources(part, a, b)
                at += height if node.axis == 0 else 0
        return out

    def whole_pixels(self, name: str) -> bool:
        """Whether a row of the tensor lies in memory without gaps between its positions."""
        while name in self.views and not self.views[name].reshaped:
            view = self.views[name]
            if view.step[1] != 1 or self.tensor(view.of).shape[2] != self.tensor(name).shape[2]:
                return False
            name = view.of
        return True

    def array_blocks(self, out: Tensor, shape: tuple[int, int], tiles: int) -> list[Block]:
        """Blocks of `shape` (rows, positions) of an output, made with `tiles` weight tiles each.

        Below a number of positions the array waits for weights: loading a tile takes `rows` cycles, and moving it its
        bytes over the port's; a fifth more leaves room for what else is moved. Where there is much to move it is twice
        as many. To save memory as few as asked for are taken.
        """
        c = self.config
        moving = -(-c.weight_tile_bytes * 6 // (5 * c.external_bytes)) if c.external_bytes else 0
        fewest = max(2 * c.rows, moving * (2 if tiles > _MANY_TILES else 1))
        return array_blocks(*shape, c.accumulator_rows, fewest if self.stripes is None else 1,
                            self.blocks(out))

    def row_blocks(self, out: Tensor, multiple: int = 1) -> list[Block]:
        """Blocks of an output that another unit makes, of a multiple of `multiple` rows but for the last."""
        return row_blocks(out.shape[0], out.shape[1], self.blocks(out), multiple if self.stripes is None else 1)

    def blocks(self, out: Tensor) -> int:
        """In how many blocks a tensor is to be made."""
        return min(out.shape[0], PIECES if self.stripes is None else self.stripes.get(out.name, 1))

    def keep(self, raw: bytes) -> int:
        """Offset in the pool of a constant that lies in memory for good, stored once."""
        if raw not in self._kept:
            self._kept[raw] = len(self.pool)
            self.pool += raw.ljust(-(-len(raw) // self.config.word_bytes) * self.config.word_bytes, b"\0")
        return self._kept[raw]

    def lookup_after(self, node: Node) -> Lookup | None:
        """The Lookup that can be done in the instruction that makes `node`'s output: its only reader."""
        readers = self._readers.get(node.output, [])
        if len(readers) == 1 and isinstance(readers[0], Lookup) and node.output not in self.graph.outputs:
            return readers[0]
        return None

    def target(self, node: Node) -> str:
        """The tensor that the instruction for `node` makes: its own, or that of a Lookup that is done at once."""
        lookup = self.lookup_after(node)
        return lookup.output if lookup else node.output


class Emitter:
    """Makes the program of planned pieces for one layout."""

    def __init__(self, network: Network, plans: list[NodePlan], layout: Layout, weights: dict[int, int]) -> None:
        self.network, self.config, self.layout = network, network.config, layout
        self.program = Program()
        self.written: list[tuple[Issued, str, Part]] = []
        """Which instruction makes which part of which tensor."""
        self.moved_tiles: list[tuple[Issued, int]] = []
        """Each PACK and UNPACK, and the first of its rows."""
        self._plans, self._weights = plans, weights
        self._moved = self._read = 0  # weight tiles so far

    def place(self, name: str) -> Place:
        network, layout = self.network, self.layout
        return place(network.graph, name, network.views, layout.buffers, layout.rings, network.pads)

    def constants(self, tag: int) -> tuple[int, Region]:
        """Address of a node's constants."""
        at = self.layout.buffers[constants(tag)]
        return at, Region(at, len(self._plans[tag].constants))

    def scratch(self, tag: int) -> int:
        return self.layout.buffers[scratch(tag)]

    def pool(self, offset: int) -> int:
        """Address of a constant that `Network.keep` stored."""
        return self.layout.pool + offset

    def external(self, tag: int) -> int:
        """External address of what `make_weights` of a node's plan gives."""
        return self._weights[tag]

    def move_constants(self, tag: int, external: int) -> None:
        """Brings a node's constants into their buffer."""
        at, region = self.constants(tag)
        self.program.add(isa.MOVE_IN, (), [region], tag=tag, a=at, external=external, block_bytes=region.size,
                         blocks=1)

    def move_weights(self, tag: int, first: int, tiles: int) -> None:
        """Brings a piece's weight tiles into the ring, each as soon as there is room."""
        tile, ring = self.config.weight_tile_bytes, self.layout.ring_tiles
        external = self._weights[tag] + first * tile
        done = 0
        while done < tiles:
            count = min(tiles - done, MOST_BLOCKS)
            self.program.add(isa.MOVE_IN, tag=tag, a=self.layout.ring + self._moved % ring * tile,
                             external=external + done * tile, block_bytes=tile, blocks=count, take=WEIGHT_FREE,
                             give=WEIGHT_READY, step=tile, external_step=tile, ring=self.layout.ring,
                             ring_bytes=ring * tile)
            done += count
            self._moved += count

    def read_weights(self, tag: int, first: int, tiles: int) -> dict[str, int]:
        """Fields of an ARRAY that reads `tiles` weight tiles, from the node's tile `first` on."""
        tile, ring = self.config.weight_tile_bytes, self.layout.ring_tiles
        if not ring:
            return {"b": self.layout.ring + self._weights[tag] + first * tile}
        at = self.layout.ring + self._read % ring * tile
        self._read += tiles
        return {"b": at, "ring": self.layout.ring, "ring_bytes": ring * tile, "ready": WEIGHT_READY,
                "free": WEIGHT_FREE}

    def wrote(self, instruction: Issued, tensor: str, block: Block) -> None:
        """The instruction makes a block of a tensor, all its channels."""
        self.wrote_part(instruction, tensor, Part(range(block.y, block.end), range(block.x, block.x + block.width),
                                                  range(self.network.tensor(tensor).shape[2])))

    def wrote_part(self, instruction: Issued, tensor: str, part: Part) -> None:
        """The instruction makes a part of a tensor."""
        self.written.append((instruction, tensor, part))
