"""Programs that are longer than the memory they may have: cut into chunks, which come from external memory.

Two buffers in the unified memory take the chunks in turn. A loader, which lies in front of them for good and where
each run begins, brings chunk 0 and jumps to it; each chunk brings the next one into the other buffer, which the
sequencer has left: whatever lay there is in queues. At its end it waits for the next one and jumps. So nothing needs
to be loaded again for the next run, or after one that was ended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from systolith.gen.schedule.schedule import LEAD
from systolith.rtl import isa
from systolith.rtl.assembly import Assembler
from systolith.rtl.isa import Instruction

from .program import PROGRAM_READY, WEIGHT_FREE, WEIGHT_READY

CHUNK_BYTES = 2048
"""Bytes of a chunk, if pieces are not too long for it."""
STREAMED_FROM = 16384
"""Bytes from which on a program comes in chunks also where there is room for it."""
LOADER_WORDS = isa.MOVE_IN.length + isa.SYNC.length + isa.JUMP.length
SHORTEST = 4 * LOADER_WORDS + 2 * CHUNK_BYTES
"""Bytes of the unified memory that a program in chunks takes at least."""
_TAIL = isa.SYNC.length + isa.JUMP.length


@dataclass(frozen=True)
class Buffers:
    """Where chunks lie: `address` is that of the first buffer, `external` that of chunk 0, and `size` is the bytes of
    a buffer and of a chunk."""

    address: int
    external: int
    size: int

    def bring(self, number: int, tag: int) -> Instruction:
        """The instruction that brings a chunk into its buffer."""
        return isa.MOVE_IN(tag=tag, a=self._buffer(number), external=self.external + number * self.size,
                           block_bytes=self.size, blocks=1, signal0=PROGRAM_READY, signal0_count=1)

    def go(self, number: int) -> list[Instruction]:
        """The instructions that go on in a chunk as soon as it is there."""
        return [isa.SYNC(wait0=PROGRAM_READY, wait0_count=1), isa.JUMP(address=self._buffer(number))]

    def _buffer(self, number: int) -> int:
        return self.address + number % 2 * self.size


@dataclass(frozen=True)
class Chunks:
    """Words of the loader and of each chunk."""

    loader: list[int]
    words: list[list[int]]
    brought: list[int]
    """How many of the program's MOVE_INs come before each one that brings a chunk."""

    def number(self, own: int) -> int:
        """Of a MOVE_IN within the mover's instructions; `own`: within those of the program itself."""
        return own + sum(before <= own for before in self.brought)


def cut(pieces: Sequence[Sequence[Instruction]], buffers: Buffers, ring_tiles: int, slots: int) -> Chunks | None:
    """The chunks of a program; None where they would have to be longer.

    Two things keep it from hanging. What comes before the instruction that brings a chunk in the mover's queue are
    weights of up to LEAD pieces more, which wait for room in the ring: the ARRAYs that make it must be dispatched
    before the sequencer waits for the chunk, so a chunk holds enough of them. And there is one instruction more in that
    queue, which may be full: so until the last of those pieces has been dispatched, what pieces ask for comes behind
    them instead of in front.

    pieces: instructions of each piece, with the weights and constants that are asked for before it. ring_tiles: of the
    ring of weights. slots: see `Expander`.
    """
    pieces = [piece for piece in pieces if piece]
    asked = [0, *accumulate(sum(i.blocks for i in piece if i.kind is isa.MOVE_IN and i.take == WEIGHT_FREE)
                            for piece in pieces)]
    read = [0, *accumulate(sum(i.tiles * i.ky * i.kx * i.kc for i in piece
                               if i.kind is isa.ARRAY and i.ready == WEIGHT_READY) for piece in pieces)]
    assembler, chunks, first = Assembler(slots), Chunks([], [], [0]), 0
    chunks.loader.extend(assembler.words([buffers.bring(0, pieces[0][-1].tag), *buffers.go(0)]))
    while (rest := _fill(assembler.copy(), pieces[first:], buffers.size)) is None:
        number = len(chunks.words) + 1
        bring = [buffers.bring(number, pieces[first][-1].tag)]
        chunks.brought.append(sum(i.kind is isa.MOVE_IN for piece in pieces[:first + 1] for i in piece))
        words, end = assembler.words([*pieces[first], *bring]), first + 1
        while end < len(pieces) - 1:
            trial = assembler.copy()
            more = trial.words(_behind(pieces[end]) if end <= first + LEAD else pieces[end])
            if 4 * (len(words) + len(more) + _TAIL) > buffers.size:
                break
            words, assembler, end = words + more, trial, end + 1
        if end < first + 2 or read[end] < asked[first + 1] - ring_tiles:
            return None
        chunks.words.append(words + assembler.words(buffers.go(number)))
        first = end
    chunks.words.append(rest)
    return chunks


def _fill(assembler: Assembler, pieces: Iterable[Sequence[Instruction]], size: int) -> list[int] | None:
    """The words of the last chunk, which is followed by none; None where there are more than fit."""
    words: list[int] = []
    for piece in pieces:
        words += assembler.words(piece)
        if 4 * len(words) > size:
            return None
    return words


def _behind(piece: Sequence[Instruction]) -> list[Instruction]:
    """A piece with what it asks for at its end. It does not need that itself: it is for later ones."""
    return sorted(piece, key=lambda i: i.kind is isa.MOVE_IN)
