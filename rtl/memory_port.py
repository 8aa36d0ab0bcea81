"""What each port of the unified memory does: find its banks, turn its bytes."""

from amaranth import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .config import ADDRESS_BITS


def rotate_left(m: Module, value: Signal, amount: Signal, unit: int, name: str) -> Signal:
    """`value`, of `2**len(amount)` units of `unit` bits, rotated upwards by `amount` units (one 2:1 level a bit)."""
    for level in range(len(amount)):
        turned = Signal(len(value), name=f"{name}_{level}")
        m.d.comb += turned.eq(Mux(amount[level], value.rotate_left(unit << level), value))
        value = turned
    return value


class PortAccess(wiring.Component):
    """Turns a port's byte address into the one or two banks that hold its bytes, and registers a granted access.

    `banks` follows `address` and `mask` in the same cycle. The outputs after it are registers: in the cycle
    after `go` they select the banks; without `go` they select none.

    Word w is row w // banks of bank (w % banks + w // banks) % banks: a stride of a whole row of banks, which
    channel counts make common, still visits all of them. (With two banks, bank w % 2: neighbours must differ.)

    Parameters
    ----------
    size_bytes, banks, word_bytes: of the memory. aligned: the low address bits are taken as 0.
    writes: the port writes; the second word counts only if `mask` reaches it.

    Members
    -------
    address: byte address. mask: bytes written (port that writes). go: the access is granted.
    banks: set of banks that the access waits for; past the end it uses none of them.
    low, high: bank (one bit each) of the first and second word. low_row, high_row: their rows. offset: bytes into
    the first word. outside: 1 if a byte past the end was asked for (a read's tail is not), at `outside_address`.
    """

    def __init__(self, size_bytes: int, banks: int, word_bytes: int, aligned: bool, writes: bool) -> None:
        self.size_bytes, self.bank_count, self.word_bytes = size_bytes, banks, word_bytes
        self.aligned, self.writes = aligned, writes
        rows = range(size_bytes // (banks * word_bytes))
        super().__init__({
            "address": In(ADDRESS_BITS),
            "mask": In(word_bytes),
            "go": In(1),
            "banks": Out(banks),
            "low": Out(banks),
            "high": Out(banks),
            "low_row": Out(rows),
            "high_row": Out(rows),
            "offset": Out(range(word_bytes)),
            "outside": Out(1),
            "outside_address": Out(ADDRESS_BITS),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offset_bits, bank_bits = len(self.offset), (self.bank_count - 1).bit_length()
        word = self.address[offset_bits:]
        offset, column, row = self.address[:offset_bits], word[:bank_bits], word[bank_bits:][:len(self.low_row)]
        inside, last_column, tail, last_word = Signal(), Signal(), Signal(), Signal()
        low, high = self._places(m, column, row[:bank_bits])
        m.d.comb += [inside.eq(self.address < self.size_bytes), last_column.eq(column.all())]
        if not self.aligned:
            reached = Cat(offset >= self.word_bytes - i for i in range(1, self.word_bytes))
            m.d.comb += [
                tail.eq((reached & self.mask[1:]).any() if self.writes else offset.any()),
                last_word.eq(word == self.size_bytes // self.word_bytes - 1),
            ]
        # The grant is the long path: whether the address exists is only looked at beside it.
        m.d.comb += self.banks.eq(low | Mux(tail, high, 0))
        missing = Signal()
        m.d.comb += missing.eq(~inside | (tail & last_word if self.writes else 0))
        m.d.sync += [
            self.low.eq(Mux(self.go & inside, low, 0)),
            self.high.eq(Mux(self.go & inside & tail & ~last_word, high, 0)),
            self.outside.eq(self.go & missing),
        ]
        late = {"low_row": row, "high_row": row + last_column, "offset": 0 if self.aligned else offset,
                "outside_address": Mux(inside, self.size_bytes, self.address)}
        for name, value in late.items():
            register = Signal(len(getattr(self, name)), name=f"{name}_r", reset_less=True)
            m.d.sync += register.eq(value)
            m.d.comb += getattr(self, name).eq(register)
        return m

    def _places(self, m: Module, column: Value, row: Value) -> tuple[Signal, Signal]:
        """Bank of the word and bank of the next one, one bit each: tables, as an adder and a decoder would be slow."""
        count = self.bank_count
        turns = range(count if count > 2 else 1)
        in_column = [column == c for c in range(count)]
        in_row = [row == r if count > 2 else 1 for r in turns]
        low, high = Signal(count), Signal(count)
        for b in range(count):
            m.d.comb += low[b].eq(Cat(in_row[r] & in_column[(b - r) % count] for r in turns).any())
            # After the last column comes column 0 of the next row.
            m.d.comb += high[b].eq(Cat(
                in_row[r] & in_column[c] for r in turns for c in range(count)
                if b == (c + 1 + r + (c == count - 1 and count > 2)) % count).any())
        return low, high


def return_latency(aligned: bool) -> int:
    """Cycles from the access to the banks to the response: bank, gather, and turn where the port is not aligned."""
    return 2 if aligned else 3


class ReadReturn(wiring.Component):
    """Gathers a read's bytes from the banks, and turns them so that the first asked is the lowest.

    Each byte comes from one bank only, so one multiplexer a byte serves both words. `valid` and its companions
    belong to the cycle in which the banks are accessed; the response comes `return_latency` cycles after it.

    Parameters
    ----------
    banks, word_bytes: of the memory. aligned: the port never rotates.

    Members
    -------
    valid: a read accesses the banks. low, high, offset, outside: as registered by `PortAccess`.
    bank_data: what the banks read, one cycle later. response: stream of words; 0 where the read was outside.
    """

    def __init__(self, banks: int, word_bytes: int, aligned: bool) -> None:
        self.bank_count, self.word_bytes, self.aligned = banks, word_bytes, aligned
        super().__init__({
            "valid": In(1),
            "low": In(banks),
            "high": In(banks),
            "offset": In(range(word_bytes)),
            "outside": In(1),
            "bank_data": In(data.ArrayLayout(unsigned(8 * word_bytes), banks)),
            "response": Out(stream.Signature(unsigned(8 * word_bytes), always_ready=True)),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bank_bits = (self.bank_count - 1).bit_length()
        chosen = Signal(data.ArrayLayout(unsigned(bank_bits), self.word_bytes), reset_less=True)
        gathered = Signal(8 * self.word_bytes, reset_less=True)
        offsets = [Signal(len(self.offset), name=f"offset_{k}", reset_less=True) for k in (1, 2)]
        valid, outside = Signal(2), Signal()
        m.d.sync += [
            valid.eq(Cat(self.valid, valid[0])),
            outside.eq(self.outside),
            offsets[0].eq(self.offset),
            offsets[1].eq(offsets[0]),
        ]
        low, high = self._number(m, self.low, "low"), self._number(m, self.high, "high")
        for j in range(self.word_bytes):
            m.d.sync += chosen[j].eq(low if self.aligned else Mux(self.offset > j, high, low))
            column = Signal(data.ArrayLayout(unsigned(8), self.bank_count), name=f"column_{j}")
            m.d.comb += column.eq(Cat(self.bank_data[b][8 * j:8 * j + 8] for b in range(self.bank_count)))
            m.d.sync += gathered[8 * j:8 * j + 8].eq(column[chosen[j]])
        with m.If(outside):
            m.d.sync += gathered.eq(0)
        if self.aligned:
            m.d.comb += [self.response.valid.eq(valid[1]), self.response.payload.eq(gathered)]
            return m
        # Down by `offset` is up by its negative.
        up = Signal(len(self.offset))
        m.d.comb += up.eq(-offsets[1])
        turned, last = Signal(8 * self.word_bytes, reset_less=True), Signal()
        m.d.sync += [turned.eq(rotate_left(m, gathered, up, 8, "turn")), last.eq(valid[1])]
        m.d.comb += [self.response.valid.eq(last), self.response.payload.eq(turned)]
        return m

    def _number(self, m: Module, one_hot: Signal, name: str) -> Signal:
        number = Signal((self.bank_count - 1).bit_length(), name=f"{name}_number")
        for bit in range(len(number)):
            m.d.comb += number[bit].eq(Cat(one_hot[b] for b in range(self.bank_count) if b >> bit & 1).any())
        return number


class WriteTurn(wiring.Component):
    """Turns a write's bytes to their places in the one or two words. Combinational after the input registers.

    Parameters
    ----------
    word_bytes: of the memory. aligned: nothing turns.

    Members
    -------
    mask, data: as asked, registered one cycle. offset: bytes into the first word, already one cycle later.
    turned: the data of both words. low_mask, high_mask: which bytes of each.
    """

    def __init__(self, word_bytes: int, aligned: bool) -> None:
        self.word_bytes, self.aligned = word_bytes, aligned
        super().__init__({
            "mask": In(word_bytes),
            "data": In(8 * word_bytes),
            "offset": In(range(word_bytes)),
            "turned": Out(8 * word_bytes),
            "low_mask": Out(word_bytes),
            "high_mask": Out(word_bytes),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mask = Signal(self.word_bytes, reset_less=True)
        value = Signal(8 * self.word_bytes, reset_less=True)
        m.d.sync += [mask.eq(self.mask), value.eq(self.data)]
        if self.aligned:
            m.d.comb += [self.turned.eq(value), self.low_mask.eq(mask)]
            return m
        upper = Signal(self.word_bytes)  # bytes of the word from `offset` on
        turned_mask = rotate_left(m, mask, self.offset, 1, "mask")
        m.d.comb += [
            upper.eq(Cat(self.offset <= j for j in range(self.word_bytes))),
            self.turned.eq(rotate_left(m, value, self.offset, 8, "turn")),
            self.low_mask.eq(turned_mask & upper),
            self.high_mask.eq(turned_mask & ~upper),
        ]
        return m
