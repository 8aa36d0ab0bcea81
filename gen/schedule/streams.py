"""Tensors that rest in pages between the segments of a network: packed where they are made, unpacked where they are
read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from systolith.gen.emit.plan import NodePlan, Piece
from systolith.gen.graph import Append, Feed, Graph, Node, Pack, Reshape, Tensor, Transpose, Unpack
from systolith.rtl.isa import READERS

from .packing import Packing, tile_columns

LEAST = 1024
"""Bytes of a tensor below which it is not worth a stream."""


def streamable(graph: Graph, name: str, packing: Packing) -> bool:
    """Whether a tensor may rest in pages: made and read row by row, of some size. Inputs of the network may where that
    is outside the unified memory, which they come into whole."""
    tensor = graph.tensors[name]
    at = [index for index, node in enumerate(graph.nodes) if name in node.inputs or node.output == name]
    if at and at[-1] - (at[0] if name not in graph.inputs else -1) < packing.apart:
        return False
    if tensor.bytes < LEAST or not tile_columns(tensor, 1):
        return False
    around = [node for node in graph.nodes if name in node.inputs or node.output == name]
    return ((packing.outside or name not in graph.inputs) and name not in graph.outputs
            and not any(isinstance(node, Append | Reshape | Transpose) for node in around))


def stream_of(name: str) -> str:
    """The stream that a tensor is packed into."""
    return f"{name}@"


@dataclass
class Crossings:
    """Which tensors cross from one segment to others, and rest in pages in between."""

    graph: Graph
    packing: Packing
    readers: dict[str, list[int]]
    """Of each such tensor, the segments that read it."""

    @classmethod
    def find(cls, graph: Graph, segments: list[range], packing: Packing) -> "Crossings":
        """Those of a whole network."""
        made = dict.fromkeys(graph.inputs, 0 if packing.outside else -1)
        readers: dict[str, list[int]] = {}
        for number, segment in enumerate(segments):
            for node in graph.nodes[segment.start:segment.stop]:
                for name in node.inputs:
                    if made[name] < number and number not in readers.setdefault(name, []):
                        readers[name].append(number)
                made[node.output] = number
        return cls(graph, packing, {name: numbers for name, numbers in readers.items()
                                    if numbers and len(numbers) <= READERS and streamable(graph, name, packing)})

    def segment(self, nodes: Iterable[Node], number: int, tensors: dict[str, Tensor]) -> list[Node]:
        """The operators of a segment with an Unpack in front of the first reader of each tensor that comes in, and a
        Pack behind the maker of each that goes out; their tensors are added to `tensors`."""
        out: list[Node] = [self._pack(name, tensors) for name in self.graph.inputs
                           if number == 0 and name in self.readers and 0 not in self.readers[name]]
        renamed: dict[str, str] = {}
        for node in nodes:
            for name in node.inputs:
                if number in self.readers.get(name, ()) and name not in renamed:
                    renamed[name] = f"{stream_of(name)}{self.readers[name].index(number)}"
                    out.append(self._unpack(name, number, renamed[name], tensors))
            out.append(replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs)))
            if node.output in self.readers:
                out.append(self._pack(node.output, tensors))
        return out

    def _unpack(self, name: str, number: int, output: str, tensors: dict[str, Tensor]) -> Unpack:
        tiling = self.packing.best(name)
        for new in (stream_of(name), output):
            tensors[new] = replace(self.graph.tensors[name], name=new)
        return Unpack(f"unpack {name}", (stream_of(name),), output, (tiling.rows, tiling.columns),
                      tiling.centre - 128, tiling.table_set, self.readers[name].index(number),
                      self.packing.whole_stripes(name))

    def _pack(self, name: str, tensors: dict[str, Tensor]) -> Pack:
        tiling = self.packing.best(name)
        tensors[stream_of(name)] = replace(self.graph.tensors[name], name=stream_of(name))
        return Pack(f"pack {name}", (name,), stream_of(name), (tiling.rows, tiling.columns), tiling.centre - 128,
                    tiling.table_set, len(self.readers[name]), self.packing.raw,
                    self.packing.whole_stripes(name))


def insert_streams(graph: Graph, segments: list[range], packing: Packing) -> tuple[Graph, list[range]]:
    """The graph with its Packs and Unpacks, and the segments of the new graph."""
    crossings = Crossings.find(graph, segments, packing)
    tensors, nodes, out = dict(graph.tensors), list[Node](), list[range]()
    for number, segment in enumerate(segments):
        start = len(nodes)
        nodes += crossings.segment(graph.nodes[segment.start:segment.stop], number, tensors)
        out.append(range(start, len(nodes)))
    return replace(graph, tensors=tensors, nodes=tuple(nodes)), out


def pages_in_use(plans: list[NodePlan], order: Iterable[tuple[int, int]], sizes: Mapping[str, NDArray[np.int64]],
                 page: int, kept: Iterable[str] = ()) -> NDArray[np.int64]:
    """Pages that are in use at most while pieces, given as (operator, first row), are made in this order, for each
    sample.

    sizes: bytes of the bands of each stream, [samples, bands]. page: bytes. kept: streams that others read later.
    Streams that are not made here are there from the start, also those that nothing here reads.
    """
    ends = {name: np.cumsum(bands, 1) for name, bands in sizes.items()}
    bands = {name: made.shape[1] for name, made in ends.items()}
    made = {plan.node.output for plan in plans if isinstance(plan.node, Pack)}
    readers: dict[str, dict[int, int]] = {name: {} for name in sizes}
    for plan in plans:
        if isinstance(plan.node, Unpack):
            readers[plan.node.inputs[0]][plan.node.reader] = 0
    for name in kept:
        readers[name][-1] = 0
    first = next(iter(ends.values()))[:, 0]
    held = {name: np.zeros_like(first) if name in made else -(-ends[name][:, -1] // page) for name in sizes}
    left = {name: np.zeros_like(first) for name in sizes}
    most = sum(held.values(), np.zeros_like(first))
    for tag, row in order:
        node = plans[tag].node
        if isinstance(node, Pack):
            held[node.output] = -(-ends[node.output][:, row // node.tile[0]] // page)
        elif isinstance(node, Unpack):
            name = node.inputs[0]
            readers[name][node.reader] = row // node.tile[0] + 1
            slowest = min(readers[name].values())
            if slowest == bands[name]:
                left[name] = held[name]
            elif slowest:
                left[name] = -(-ends[name][:, slowest - 1] // page) - 1
        else:
            continue
        most = np.maximum(most, sum(held.values(), np.zeros_like(first)) - sum(left.values(), np.zeros_like(first)))
    return most


def feed_inputs(graph: Graph) -> Graph:
    """The graph with a Feed in front of the first reader of each input of several rows: the host brings these
    while the network runs, and only some of their rows are in memory at a time."""
    fed = {name: f"{name}@host" for name in graph.inputs
           if graph.tensors[name].shape[0] > 1 and name not in graph.outputs
           and not any(isinstance(node, Reshape | Transpose) for node in graph.nodes if name in node.inputs)}
    tensors, nodes = dict(graph.tensors), list[Node]()
    for node in graph.nodes:
        for name in node.inputs:
            if name in fed and fed[name] not in tensors:
                tensors[fed[name]] = replace(tensors[name], name=fed[name])
                nodes.append(Feed(f"feed {name}", (name,), fed[name]))
        nodes.append(replace(node, inputs=tuple(fed.get(name, name) for name in node.inputs)))
    return replace(graph, tensors=tensors, nodes=tuple(nodes))


def stream_numbers(plans: list[NodePlan], order: list[Piece]) -> dict[str, int]:
    """A number for each stream; one may have that of another whose last reader has read it before."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for position, piece in enumerate(order):
        node = plans[piece.node].node
        if isinstance(node, Pack | Unpack):
            stream = node.output if isinstance(node, Pack) else node.inputs[0]
            first.setdefault(stream, position)
            last[stream] = position
    numbers: dict[str, int] = {}
    for stream in sorted(first, key=lambda name: first[name]):
        used = {numbers[other] for other in numbers if last[other] >= first[stream]}
        numbers[stream] = next(number for number in range(len(used) + 1) if number not in used)
    return numbers
