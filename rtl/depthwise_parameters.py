"""Parameter sets of the depthwise unit: words come in, and the channels that the output lanes take at once go out."""

from amaranth import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from .depthwise_fetch import Arrival
from .depthwise_walk import BUFFERS, Kind


def pick(values: list[Value], index: Value) -> Value:
    """`values[index]`, as a tree of two-way choices."""
    for bit in index:
        values = [Mux(bit, *reversed(values[k:k + 2])) if k + 1 < len(values) else values[k]
                  for k in range(0, len(values), 2)]
    return values[0]


def wide_words(cols: int, word_bytes: int) -> int:
    """Memory words of the biases of a set, and of its multipliers."""
    return -(-4 * cols // word_bytes)


class DepthwiseParameters(wiring.Component):
    """Bias, multiplier and shift of the channels `chunk * lanes` and up, a cycle after `chunk` and `buffer` were there.

    Parameters
    ----------
    cols: channels of a group. word_bytes: of the memory. lanes: channels of a chunk, a power of two.

    Members
    -------
    arrival, word: a word to write; place: word of the set (4 bits) and buffer. chunk, buffer: what to read.
    bias, multiplier, shift: of each lane; those past the last channel are noise.
    """

    def __init__(self, cols: int, word_bytes: int, lanes: int) -> None:
        self._cols, self._word_bytes, self._lanes = cols, word_bytes, lanes
        super().__init__({
            "arrival": In(Arrival),
            "word": In(8 * word_bytes),
            "chunk": In(4),
            "buffer": In(range(BUFFERS)),
            "bias": Out(data.ArrayLayout(signed(32), lanes)),
            "multiplier": Out(data.ArrayLayout(signed(32), lanes)),
            "shift": Out(data.ArrayLayout(unsigned(6), lanes)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wide = wide_words(self._cols, self._word_bytes)
        index, buffer = self.arrival.place[:4], self.arrival.place[4:6]
        comes = self.arrival.valid & (self.arrival.kind == Kind.PARAMETERS)
        chunk = Signal(4, reset_less=True)
        m.d.sync += chunk.eq(self.chunk)
        m.d.comb += [
            self.bias.eq(self._plane(m, "bias", comes & (index < wide), index, buffer, chunk)),
            self.multiplier.eq(self._plane(m, "multiplier", comes & (index >= wide) & (index < 2 * wide),
                                           (index - wide)[:4], buffer, chunk)),
        ]
        m.submodules.shift = shifts = memory.Memory(shape=6 * self._cols, depth=BUFFERS, init=[])
        write, read = shifts.write_port(), shifts.read_port()
        m.d.comb += [
            write.addr.eq(buffer), write.en.eq(comes & (index == 2 * wide)),
            write.data.eq(Cat(self.word[8 * c:8 * c + 6] for c in range(self._cols))), read.addr.eq(self.buffer),
            self.shift.eq(self._part(read.data, 6 * self._lanes, chunk)),
        ]
        return m

    def _plane(self, m: Module, name: str, comes: Value, index: Value, buffer: Value, chunk: Signal) -> Value:
        """One plane's entries of the chunk. A chunk is one word of each bank, or a part of a word of the only bank."""
        per_word = self._word_bytes // 4
        banks, parts = max(1, self._lanes // per_word), max(1, per_word // self._lanes)
        bank_bits, part_bits = banks.bit_length() - 1, parts.bit_length() - 1
        rows = -(-wide_words(self._cols, self._word_bytes) // banks)
        row_bits = (rows - 1).bit_length()
        words = []
        for bank in range(banks):
            m.submodules[f"{name}_{bank}"] = store = memory.Memory(
                shape=8 * self._word_bytes, depth=BUFFERS << row_bits, init=[])
            write, read = store.write_port(), store.read_port()
            m.d.comb += [
                write.addr.eq(Cat(index[bank_bits:bank_bits + row_bits], buffer)), write.data.eq(self.word),
                write.en.eq(comes & (index[:bank_bits] == bank)),
                read.addr.eq(Cat(self.chunk[part_bits:part_bits + row_bits], self.buffer)),
            ]
            words.append(read.data)
        return self._part(Cat(words), 32 * self._lanes, chunk[:part_bits])

    @staticmethod
    def _part(bits: Value, width: int, part: Value) -> Value:
        """Part `part` of `bits`, in parts of `width` bits."""
        parts = [bits[at:at + width] for at in range(0, len(bits), width)]
        return pick(parts, part[:(len(parts) - 1).bit_length()])
