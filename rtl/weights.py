"""The array's weights: tiles read from memory ahead of their use."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from . import isa
from .affine import Loops
from .config import ADDRESS_BITS
from .isa import SEMAPHORE_NUMBER_BITS
from .ports import Give, MemoryReadPort, Take
from .stream_fifo import StreamFifo
from .transposer import Transposer

LEVELS = ("kc", "kx", "ky", "tiles")


class WeightLoader(wiring.Component):
    """Reads the weight tiles of ARRAY instructions, `rows` words each, and hands them on a word a cycle.

    It takes 1 of the instruction's `ready` before each tile (of the next tile while it reads the present one) and
    gives 1 to `free` once the last word of a tile has been granted: memory reads in the order of grants, so what is
    written from then on cannot change the tile. Up to two tiles are read ahead, over the ends of instructions. Two
    instructions are one idle cycle apart.

    Parameters
    ----------
    rows: words of a tile. cols: bytes of a word that are weights. word_bytes: width of the memory port, a power of two.
    strides: whether instructions may be `strided`, and `transposed` where words and tiles are square; without, these
    bits are ignored.

    Members
    -------
    i: stream of ARRAY instructions; counts at least 1, `b` and the ring, or the strides, multiples of `word_bytes`;
    ky = kx = 1 where it is strided.
    o: stream of rows of weights. memory: aligned reads. take, give: semaphores.
    taking: the instruction will take more; `take` is quiet otherwise.
    done: pulse: the last word of an instruction has been granted. busy: there are words to read or to hand on.
    """

    def __init__(self, rows: int, cols: int, word_bytes: int, strides: bool = False) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, not {rows}")
        if word_bytes < 1 or word_bytes & (word_bytes - 1):
            raise ValueError(f"word_bytes must be a power of two, not {word_bytes}")
        if not 1 <= cols <= word_bytes:
            raise ValueError(f"cols must be from 1 to word_bytes ({word_bytes}), not {cols}")
        self.rows, self.cols, self.word_bytes, self.strides = rows, cols, word_bytes, strides
        self.square = strides and rows == cols == word_bytes
        super().__init__({
            "i": In(stream.Signature(isa.ARRAY.layout())),
            "o": Out(stream.Signature(data.ArrayLayout(signed(8), cols))),
            "memory": Out(MemoryReadPort(word_bytes)),
            "take": Out(stream.Signature(Take)),
            "give": Out(stream.Signature(Give)),
            "taking": Out(1),
            "done": Out(1),
            "busy": Out(1),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fields = isa.ARRAY.fields
        m.submodules.loops = loops = Loops([fields[name].width for name in LEVELS])
        p = self.i.payload
        running = Signal()
        have = Signal()  # the tile may be read
        row = Signal(range(self.rows))
        word, last_word, tile_end = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~running),
            loops.load.eq(self.i.valid & self.i.ready),
            word.eq(self.memory.request.valid & self.memory.request.ready),
            last_word.eq(row == self.rows - 1),
            tile_end.eq(word & last_word),
            loops.step.eq(tile_end & ~loops.final),
            self.done.eq(tile_end & loops.final),
        ]
        m.d.comb += [loops.counts[level].eq(p[name]) for level, name in enumerate(LEVELS)]
        with m.If(loops.load):
            m.d.sync += [running.eq(1), row.eq(0)]
        with m.Elif(self.done):
            m.d.sync += running.eq(0)
        with m.If(word):
            m.d.sync += row.eq(row + 1)
            with m.If(last_word):
                m.d.sync += row.eq(0)
        self._address(m, loops, word, last_word)
        self._take(m, loops, running, have, tile_end)
        self._give(m, loops.load, tile_end)
        room = self._buffer(m, word, running, self._turn(m, loops.load, word, row))
        # a give that has not left yet holds up the word which would make the next one; the arbiter's path begins here
        m.d.comb += self.memory.request.valid.eq(running & have & room & ~(last_word & self.give.valid))
        return m

    def _address(self, m: Module, loops: Loops, word: Signal, last_word: Signal) -> None:
        """The next word's address, in words."""
        low = exact_log2(self.word_bytes)
        p = self.i.payload
        address, ring, ring_end = (
            Signal(ADDRESS_BITS - low, name=name, reset_less=True) for name in ("address", "ring", "ring_end"))
        following = Signal(ADDRESS_BITS - low)
        wraps = Signal()
        m.d.comb += [following.eq(address + 1), self.memory.request.payload.eq(address << low)]
        with m.If(loops.load):
            m.d.sync += [
                address.eq(p.b >> low), ring.eq(p.ring >> low), ring_end.eq((p.ring + p.ring_bytes) >> low),
                wraps.eq(p.ring_bytes != 0),
            ]
        with m.Elif(word):
            m.d.sync += address.eq(following)
            with m.If(wraps & (following == ring_end)):
                m.d.sync += address.eq(ring)
        if self.strides:
            self._stride(m, loops, word, last_word, address)

    def _stride(self, m: Module, loops: Loops, word: Signal, last_word: Signal, address: Signal) -> None:
        """Of a strided instruction: the address of the next row, of the next kc's first, of the next tile's first."""
        low = exact_log2(self.word_bytes)
        p = self.i.payload
        strided = Signal()
        names = ("b_row", "b_kc", "b_tile")
        strides = [Signal(ADDRESS_BITS - low, name=name, reset_less=True) for name in names]
        kc_first, tile_first = (Signal.like(address, name=name) for name in ("kc_first", "tile_first"))
        base, stride, following = (Signal.like(address, name=name) for name in ("base", "stride", "strided_following"))
        next_tile = Signal()
        m.d.comb += [
            following.eq(base + stride), next_tile.eq(last_word & loops.last[LEVELS.index("kc")]),
            base.eq(Mux(next_tile, tile_first, Mux(last_word, kc_first, address))),
            stride.eq(Mux(next_tile, strides[2], Mux(last_word, strides[1], strides[0]))),
        ]
        with m.If(loops.load):
            m.d.sync += [strided.eq(p.strided), kc_first.eq(p.b >> low), tile_first.eq(p.b >> low)]
            m.d.sync += [stride_.eq(p[isa.ARRAY.second_names[name]] >> low)
                         for name, stride_ in zip(names, strides, strict=True)]
        with m.Elif(word & strided):
            m.d.sync += address.eq(following)
            with m.If(last_word):
                m.d.sync += kc_first.eq(following)
            with m.If(next_tile):
                m.d.sync += tile_first.eq(following)

    def _take(self, m: Module, loops: Loops, running: Signal, have: Signal, tile_end: Signal) -> None:
        """One take a tile, up to one tile ahead; without a semaphore all tiles are there."""
        semaphore = Signal(SEMAPHORE_NUMBER_BITS, reset_less=True)
        have_next, always = Signal(), Signal()
        needed, taken = Signal(), Signal()
        m.d.comb += [
            needed.eq(running & ~always),
            self.taking.eq(needed & ~(have & loops.final)),
            self.take.valid.eq(needed & (~have | (~have_next & ~loops.final))),
            self.take.payload.semaphore.eq(semaphore),
            self.take.payload.count.eq(1),
            taken.eq(self.take.valid & self.take.ready),
        ]
        with m.If(loops.load):
            none = self.i.payload.ready == 0
            m.d.sync += [semaphore.eq(self.i.payload.ready), always.eq(none), have.eq(none), have_next.eq(0)]
        with m.Elif(tile_end):
            m.d.sync += [have.eq(have_next | taken | always), have_next.eq(0)]
        with m.Elif(taken):
            m.d.sync += [have.eq(1), have_next.eq(have)]

    def _give(self, m: Module, load: Signal, tile_end: Signal) -> None:
        semaphore = Signal(SEMAPHORE_NUMBER_BITS, reset_less=True)
        with m.If(load):
            m.d.sync += semaphore.eq(self.i.payload.free)
        with m.If(tile_end & (semaphore != 0)):
            m.d.sync += [self.give.valid.eq(1), self.give.payload.semaphore.eq(semaphore)]
        with m.Elif(self.give.ready):
            m.d.sync += self.give.valid.eq(0)
        m.d.comb += self.give.payload.count.eq(1)

    def _turn(self, m: Module, load: Signal, word: Signal, row: Signal) -> Transposer | None:
        """What turns tiles round, if there may be such; it is told which ones."""
        if not self.square:
            return None
        m.submodules.transposer = transposer = Transposer(self.rows)
        m.submodules.turned = turned = StreamFifo(1, 6)  # a bit for each tile that is not all in the transposer yet
        transposed, entered = Signal(), Signal(range(self.rows))
        enters = transposer.i.valid & transposer.i.ready
        with m.If(load):
            m.d.sync += transposed.eq(self.i.payload.transposed & self.i.payload.strided)
        m.d.comb += [
            turned.i.valid.eq(word & (row == 0)), turned.i.payload.eq(transposed),
            transposer.turn.eq(turned.o.payload), turned.o.ready.eq(enters & (entered == self.rows - 1)),
        ]
        with m.If(enters):
            m.d.sync += entered.eq(Mux(entered == self.rows - 1, 0, entered + 1))
        return transposer

    def _buffer(self, m: Module, word: Signal, running: Signal, transposer: Transposer | None) -> Signal:
        """The words read ahead; the result is 1 while there is room for one more than have been asked for."""
        depth = 2 * self.rows + 1  # two tiles and the buffer's output register
        m.submodules.words = words = SyncFIFOBuffered(width=8 * self.cols, depth=max(depth, 4))
        reserved = Signal(range(depth + 1))
        leaves = Signal()
        room = Signal(init=1)
        m.d.comb += [
            words.w_en.eq(self.memory.response.valid),
            words.w_data.eq(self.memory.response.payload),
            leaves.eq(words.r_rdy & words.r_en),
            self.busy.eq(running | (reserved != 0) | self.give.valid | (transposer.busy if transposer else 0)),
        ]
        if transposer:
            wiring.connect(m, words.r_stream, transposer.i)
            m.d.comb += [self.o.valid.eq(transposer.o.valid), self.o.payload.eq(transposer.o.payload),
                         transposer.o.ready.eq(self.o.ready)]
        else:
            m.d.comb += [self.o.valid.eq(words.r_rdy), self.o.payload.eq(words.r_data), words.r_en.eq(self.o.ready)]
        with m.If(word & ~leaves):
            m.d.sync += [reserved.eq(reserved + 1), room.eq(reserved != depth - 1)]
        with m.Elif(leaves & ~word):
            m.d.sync += [reserved.eq(reserved - 1), room.eq(1)]
        return room
