# amaranth: UnusedElaboratable=no
"""The encoder's output with its promises as assertions: see `codec_encoder_promises`."""

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.hdl import Assert, Assume
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from systolith.rtl.codec.encoder_gather import Gather
from systolith.rtl.codec.encoder_output import TileOutput, _decided
from systolith.rtl.codec.encoder_pack import SLOTS, Packer
from systolith.rtl.codec.encoder_tile import Chosen, ones
from systolith.rtl.codec.encoder_units import order_bits, order_layout
from systolith.rtl.codec.tables import TAG_CHANNELS


class Reading(wiring.Component):
    """`Gather`, eight lanes: every place of a tile's order is read once and in order, each unit there is passed once,
    four at most in a cycle, and named once where it is wanted; then the tile is done with.

    What stands in the order is free, but for `many`, which is said of more than `most`. A tile has fewer places than
    the ring.
    """

    gather = Gather
    most = 4

    def __init__(self) -> None:
        super().__init__({"begins": In(1), "count": In(order_bits(8) - 1), "final": In(order_bits(8) - 1),
                          "mask": In(8), "none": In(1), "go": In(1), "enable": In(1), "order": In(order_layout(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        gather = self.gather(8)
        m.submodules.gather = gather.elaborate(None)
        bits = order_bits(8)
        at, ahead, ahead_final, now, valid, final, running, dropping, second = gather._state
        begin, stop, last, none, mask = (Signal(width, name=name) for name, width in (
            ("begin", bits), ("stop", bits), ("last", bits), ("none", 1), ("mask", 8)))
        starts, busy, done = Signal(), Signal(), Signal(bits)  # done: places that were passed
        answer = Signal(order_layout(8))  # of the memory
        m.d.comb += [
            starts.eq(self.begins & ~busy & (self.count > 0) & (self.final < self.count)), gather.begin.eq(starts),
            gather.stop.eq(stop), gather.final.eq(last), gather.none.eq(Mux(starts, self.none, none)),
            gather.mask.eq(mask),
            gather.go.eq(self.go), gather.enable.eq(self.enable), gather.order.eq(answer),
            Assume(self.order.lanes.any()), Assume(self.order.many == (ones(self.order.lanes) > self.most)),
            Assert(~ahead | answer.lanes.any() & (answer.many == (ones(answer.lanes) > self.most))),
        ]
        # A begun tile's fields stand a cycle later, as in `TileOutput` they do before: nothing reads them in between.
        with m.If(gather.order_read):
            m.d.sync += answer.eq(self.order)
        with m.If(starts):
            m.d.sync += [begin.eq(stop), stop.eq(stop + self.count), last.eq(stop + self.final), busy.eq(1),
                         none.eq(self.none), mask.eq(self.mask), done.eq(0)]
        passed, place, total_ = gather._done, Signal(bits), Signal(bits)
        m.d.comb += [place.eq(done + begin), total_.eq(stop - begin)]
        with m.If(passed):
            m.d.sync += done.eq(done + 1)
        with m.If(busy & ~gather.busy & ~starts):
            m.d.sync += busy.eq(0)
            m.d.comb += Assert(done == total_)
        # Of the place that is being passed: lanes that were read, and those that were named.
        read, named, reads = Signal(8), Signal(8), gather._reads
        m.d.sync += [read.eq(Mux(passed, 0, read | reads)), named.eq(Mux(passed, 0, named | gather.lanes))]
        behind = done > (last - begin)[:bits]
        wanted = Mux(none | behind, 0, Mux(place == last, now.lanes & mask, now.lanes))
        m.d.comb += [
            Assert((read & reads) == 0), Assert(ones(gather.lanes) <= 4), Assert(gather.lanes & ~reads == 0),
            Assert(~passed | ((read | reads) == now.lanes)), Assert(~passed | ((named | gather.lanes) == wanted)),
            Assert(busy | ~valid & ~ahead), Assert(~gather._moves | busy),
            # what makes the induction hold
            Assert(~running | busy), Assert(~busy | (total_ > 0) & (total_ < 1 << bits - 1)),
            Assert(~busy | ((last - begin)[:bits] < total_)), Assert((at - begin)[:bits] <= total_),
            Assert(done <= total_), Assert(done <= (at - begin)[:bits]),
            Assert(busy | (at == stop)), Assert(~busy | running | (at == stop)),
            Assert(~busy | ((at - begin)[:bits] == (done + ahead + valid)[:bits])),
            Assert(~valid | now.lanes.any() & (now.many == (ones(now.lanes) > self.most))),
            Assert(~valid | (final == (place == last))),
            Assert(~ahead | (ahead_final == ((place + valid)[:bits] == last))),
            Assert(~busy | (dropping == (none | behind))), Assert(~second | now.many & valid & ~dropping),
            Assert(read == Mux(second, now.lanes & 0xF, 0)),
            Assert(named == Mux(second, Mux(final, now.lanes & mask, now.lanes) & 0xF, 0)),
        ]
        return m


class Deciding(wiring.Component):
    """How `TileOutput` finds the last unit, eight lanes: what the entry says is as many units as there are in the
    tile's order up to `final`, there of those in `mask`. It goes back a place at a time and stops in the tile.

    A tile takes `places` of the order or fewer, which stand from 0 on. `more`: units are counted that are not there.
    """

    output = TileOutput
    places, more = 6, 0

    def __init__(self) -> None:
        super().__init__({"rows": In(data.ArrayLayout(8, 8)), "count": In(3), "valid": In(1), "accepts": In(1),
                          "tile": In(Chosen), "entered": In(8)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        output = self.output(8)
        given, decided, accepts = Signal(_decided(8)), Signal(), Signal()
        output._decide(m, given, decided, accepts)
        units, walk, coded, mask, untouched = output._count
        kept, known, answer = Signal(67), Signal(), Signal(3)
        rows = [Signal(8, name=f"row_{k}") for k in range(8)]
        upto = [Signal(7, name=f"upto_{k}") for k in range(8)]  # units of the places up to this one
        fixed = Cat(Value.cast(self.rows), self.count)
        m.d.sync += [kept.eq(fixed), known.eq(1), answer.eq(output.walk_address[:3])]
        m.d.comb += [Assume(~known | (kept == fixed)), Assume((self.count > 0) & (self.count <= self.places)),
                     Assume(self.tile.c <= 4096)]
        for place, row in enumerate(rows):
            m.d.comb += [row.eq(self.rows[place]), upto[place].eq(ones(row) + (upto[place - 1] if place else 0)),
                         Assume(row.any())]
        count, at = self.count, walk[:3]
        quarter = Mux((given.tile.choice.tag == TAG_CHANNELS) & ~given.tile.choice.empty,
                      (given.tile.c + 3) >> 2, 0)
        m.d.comb += [
            output.i.valid.eq(self.valid), output.i.payload.eq(self.tile), output.done.eq(1),
            output.coded.units.eq(Array(upto)[(count - 1)[:3]] + self.more), output.coded.order.eq(count),
            output.coded.entered.eq(self.entered), output.walked.lanes.eq(Array(rows)[answer]),
            accepts.eq(self.accepts),
        ]
        state = {name: output._deciding.ongoing(name) for name in ("back", "answer", "drop", "size", "decided")}
        inside = (walk < count) & (units == Array(upto)[at])
        m.d.comb += [
            Assert(~(state["back"] | state["answer"] | state["drop"]) | inside | (units == 0)),
            Assert(~state["drop"] | (units == 0) | (output._found.lanes == Array(rows)[at])),
            Assert(~(state["size"] | state["decided"]) | (units == 0) | (walk < count) & (
                units == Array(upto)[at] - ones(Array(rows)[at] & ~mask)) & (mask & ~Array(rows)[at] == 0)),
            Assert(~decided | (given.size == ((units + quarter) << 1)[:len(given.size)])),
            Assert(~decided | (given.none == (given.raw | (units == 0)))),
            Assert(~decided | (given.final == walk) & (given.mask == mask)), *(Assert(left <= 2) for left in untouched),
            Assert(~decided | (given.header == quarter << 1)), Assert(~output._deciding.ongoing("idle") | ~decided),
            Assert(units <= 64), Assert(output._deciding.ongoing("idle") | (given.tile.c <= 4096)),
        ]
        return m


class Words(wiring.Component):
    """`Packer`, eight lanes: a tile of so many units has a word for each four of them, the last one is marked, and no
    word is begun that it does not have.

    Units come up to four a cycle, as many as the tile has; then it is flushed. Whole words come to a tile that has
    nothing else. `missing`: words fewer than the units need.
    """

    packer = Packer
    missing = 0

    def __init__(self) -> None:
        super().__init__({"begins": In(1), "units": In(12), "straight": In(1), "lanes": In(8), "direct": In(1),
                          "flush": In(1), "ready": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        packer = self.packer(8)
        m.submodules.packer = packer.elaborate(None)
        left, offset, complete, last = packer._state
        words, count, rest, whole, busy = (Signal(width, name=name) for name, width in (
            ("words", 11), ("count", 12), ("rest", 12), ("whole", 1), ("busy", 1)))
        begins, comes = Signal(), Signal(4)
        m.d.comb += [
            begins.eq(self.begins & ~busy), packer.begin.eq(begins),
            packer.words.eq(((self.units + 3) >> 2) - self.missing),
            Assume(self.units <= 2048), Assume(~self.straight | (self.units[:2] == 0)),
            packer.lanes.eq(Mux(busy & ~whole & ~self.direct, self.lanes, 0)), Assume(ones(self.lanes) <= 4),
            packer.direct.valid.eq(busy & self.direct), packer.direct.whole.eq(whole),
            packer.flush.eq(busy & self.flush & (rest == 0)), packer.o.ready.eq(self.ready),
            comes.eq(Mux(packer.direct.valid, Mux(whole, SLOTS, 1), ones(packer.lanes))), Assume(comes <= rest),
        ]
        with m.If(packer.go & ~begins):
            m.d.sync += [rest.eq(rest - comes), count.eq(count + comes)]
        with m.If(busy & packer.flush & ~packer.busy):
            m.d.sync += busy.eq(0)
        with m.If(begins):
            m.d.sync += [words.eq(packer.words), count.eq(0), rest.eq(self.units), whole.eq(self.straight), busy.eq(1)]
        given, made, gone = packer.o.valid & self.ready, Signal(11), Signal(11)  # words, of all tiles
        moves = packer.go & (left != (left - packer._ends)[:len(left)])
        m.d.sync += [gone.eq(gone + given), made.eq(made + moves)]
        m.d.comb += [
            Assert(~packer._ends | (left > 0)), Assert(busy | (left == 0)),
            Assert((made - gone)[:11] == complete + packer.o.valid),
            # what makes the induction hold
            Assert(~busy | ((count + rest + 3) >> 2 == words)), Assert(count + rest <= 2048),
            Assert(~busy | (left + (count >> 2) == words) | (rest == 0) & (left == 0)), Assert(offset == count[:2]),
            Assert(~busy | ~whole | (count[:2] == 0) & (rest[:2] == 0)),
            Assert(~complete | (last == (left == 0)) | begins | (left == words)),
        ]
        return m
