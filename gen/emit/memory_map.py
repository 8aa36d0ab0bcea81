"""Addresses of everything: what lies behind the program in the unified memory, and what in external memory."""

from dataclasses import dataclass

from systolith.gen.graph import MatMul
from systolith.gen.schedule.memory import lower_bound, place
from systolith.gen.schedule.schedule import Schedule
from systolith.gen.schedule.streams import stream_numbers
from systolith.rtl.config import Config

from .chunks import SHORTEST
from .places import home
from .plan import Layout, constants


def align(size: int, to: int) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // to) * to


@dataclass
class Image:
    """The external memory: weights and streamed constants, and where each node's start."""

    raw: bytes
    weights: dict[int, int]
    constants: dict[int, int]


def _image(s: Schedule, config: Config) -> Image:
    raw = bytearray()
    weights: dict[int, int] = {}
    kept: dict[int, int] = {}
    for tag, plan in enumerate(s.plans):
        for data, starts in ((plan.weights, weights), (plan.constants if s.streamed else b"", kept)):
            if data:
                starts[tag] = len(raw)
                raw += data.ljust(align(len(data), config.word_bytes), b"\0")
    return Image(bytes(raw), weights, kept)


def _read_past(s: Schedule) -> dict[str, int]:
    """Bytes behind buffers that are read, though they count for nothing: products of two activations take the second
    one's rows as whole tiles of weights."""
    network, found = s.network, dict[str, int]()
    for node in network.graph.nodes:
        if isinstance(node, MatMul):
            tensor, owner = network.tensor(node.inputs[1]), home(node.inputs[1], network.views)
            whole, tile = network.tensor(owner), network.config.cols if node.transposed else network.config.rows
            row = max(each.bytes // each.shape[0] for each in (whole, tensor)) + network.pads.get(owner, 0)
            found[owner] = max(found.get(owner, 0), -tensor.shape[0] % tile * row)
    return found


def least_bytes(s: Schedule, ring_tiles: int) -> int:
    """Bytes of unified memory that a schedule needs at least: without its program, and as if nothing were lost between
    its buffers."""
    config = s.network.config
    ring = ring_tiles * config.weight_tile_bytes if config.external_bytes else 0
    return len(s.network.pool) + ring + lower_bound([*s.activations(), *s.constants()], config.word_bytes)[0]


class MemoryMap:
    """Where everything of a schedule lies, for any size of the program.

    Constants that are moved in have memory of their own, so that they need not wait for activations that others still
    read; where there is too little for that they lie among these.

    ring_tiles: of the ring of weights, where they come from external memory. capacity: bytes that there are. tight: see
    `Layout`. ahead: see `Schedule.asked`.
    """

    def __init__(self, s: Schedule, ring_tiles: int, capacity: int, *, tight: bool, ahead: bool) -> None:
        self._s, self._tight = s, tight
        config = self._config = s.network.config
        self.ring_tiles = ring_tiles if config.external_bytes else 0
        self.image = _image(s, config)
        self.activations = s.activations()
        self._offsets, height = place(self.activations, config.word_bytes)
        self._constants = s.constants(ahead)
        self._constant_offsets, self._constant_height = place(self._constants, config.word_bytes)
        self._height = self._with_past(height)
        ring = self.ring_tiles * config.weight_tile_bytes
        if self._height + self._constant_height + ring + len(s.network.pool) + SHORTEST > capacity:
            self.join()
        self.page_limit = 0
        """Pages of streams."""
        self._held = {} if s.streamed else {
            constants(tag): plan.constants for tag, plan in enumerate(s.plans) if plan.constants}

    def _with_past(self, height: int) -> int:
        """The height of the activations with what is read behind them."""
        ends = {buffer.name: self._offsets[buffer.name] + buffer.size for buffer in self.activations}
        return max(height, *(ends[name] + more for name, more in _read_past(self._s).items() if name in ends), 0)

    def join(self) -> bool:
        """Puts constants that are moved in among activations; whether there are any that were not there."""
        if not self._constant_height:
            return False
        self._offsets, height = place(self.activations + self._constants, self._config.word_bytes)
        self._constant_offsets, self._constant_height = {}, 0
        self._height = self._with_past(height)
        return True

    def lay_out(self, program: int, parts: int = 0) -> tuple[Layout, dict[str, int]]:
        """The layout with `program` bytes of program in the unified memory and `parts` outside; sizes."""
        s, config = self._s, self._config
        layout = Layout(ring_tiles=self.ring_tiles, rings=s.rings, streams=stream_numbers(s.plans, s.order),
                        tight=self._tight, pool=program, page_limit=self.page_limit,
                        outside=align(len(self.image.raw) + parts, config.page_bytes))
        at = program + len(s.network.pool) + config.word_bytes  # the last word is for idle instructions
        for name, raw in self._held.items():
            layout.buffers[name] = at
            at += len(raw)
        layout.buffers |= {name: at + offset for name, offset in self._constant_offsets.items()}
        layout.ring = at + self._constant_height
        weights = self.ring_tiles * config.weight_tile_bytes if self.ring_tiles else len(self.image.raw)
        layout.buffers |= {name: layout.ring + weights + offset for name, offset in self._offsets.items()}
        layout.buffers |= {plan.output: layout.ring + self.image.weights[tag] for tag, plan in enumerate(s.plans)
                           if plan.output in s.network.held}
        layout.pages = layout.ring + weights + self._height
        sizes = {"program": program, "parameters": layout.ring - program, "weights": weights,
                 "activations": self._height + self.page_limit * config.page_bytes}
        return layout, sizes | {"total": sum(sizes.values())}

    def behind(self) -> bytes:
        """What lies behind the program from the start."""
        pool = self._s.network.pool
        constants = bytes(pool).ljust(len(pool) + self._config.word_bytes, b"\0") + b"".join(self._held.values())
        return constants if self.ring_tiles else constants + self.image.raw
