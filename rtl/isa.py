"""The instruction set: every layout once, for the sequencer, the units, the compiler, the simulators and the document.

An instruction is a number of 32-bit words, little-endian in memory. Word 0 is the same in all of them:
opcode, length in words and a tag (the compiler's layer number, which traces carry). The high digit of
the opcode names the unit. Instructions of a unit go on with

- word 1: semaphores that it waits on (it takes `count` from each before it starts; semaphore 0 is none),
- word 2: semaphores that it signals (it gives `count` to each when its last effect is in memory),
- words 3, 4, 5: addresses A, B, C in the unified memory. The sequencer adds the address register that
  `*_register` names (register 0 is always 0) to each before it passes the instruction on.

The sequencer keeps the last instruction of each unit for each slot, which is its tag modulo the machine's
`instruction_slots`. With them a program gets short: an instruction may stand in it in compact form. Then bit 15 of its
header is 1, in the place of the length is a slot of its unit, and a word follows whose bit k says that word k comes
next, in order. Its other words are those of the instruction in that slot, as they stood in the program: without address
registers. Bits of words that it does not have are 0.

A program for sequences of tokens works for shorter ones, too. The host writes their length into the register LENGTH (0:
as compiled), and instructions that are marked by their field `clip` do less: of rows that are tokens `first`, first + 1
and so on, those before token LENGTH are left, but always one, so that no unit meets an instruction without work; what
it makes then is of no use. An ARRAY and the VECTOR that takes its blocks are marked alike. A `scaled` ADDRESS
multiplies by LENGTH: so a row that comes to those of earlier runs has its place. Machines without norm and softmax unit
do not have LENGTH, and take no notice of either.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth import signed, unsigned
from amaranth.lib import data

from .config import ADDRESS_BITS

COMPACT = 0x8000
"""Bit of the header: an instruction in compact form."""
SEMAPHORES = 32
"""Counting semaphores that instructions can name; number 0 is "none". How many a machine has: `Config.semaphores`."""
SEMAPHORE_NUMBER_BITS, TAKE_BITS = 5, 11
"""Widths of a semaphore's number and of what is taken or given at a time."""
SEMAPHORE_BITS = 16
"""A count is at most `2**SEMAPHORE_BITS - 1`."""
ADDRESS_REGISTERS = 16
LOOP_DEPTH = 4
LENGTH_BITS, TOKEN_BITS = 16, 12
"""Widths of the register LENGTH, and of the number of a block's first token."""

# Element types and modes of the VECTOR instruction.
INT8, INT16, INT32 = 0, 1, 2
SUM, MAX, PRODUCT = 0, 1, 2
SINGLE, DOUBLE, EVEN = 0, 1, 2
MEMORY, ACCUMULATORS = 0, 1

DEPTHWISE_WINDOW, DEPTHWISE_TAPS = 13, 64
"""Rows and columns of a DEPTHWISE instruction's window, and its taps, at most."""


class FieldError(ValueError):
    """A value that an instruction's field cannot hold."""


@dataclass(frozen=True)
class Field:
    """A field of an instruction word: `width` bits from `offset` upwards. `also`: a second name, for what the same bits
    mean in another kind of use."""

    name: str
    width: int
    doc: str
    signed: bool = False
    also: str = ""

    def check(self, value: int) -> None:
        low, high = (-(1 << self.width - 1), (1 << self.width - 1) - 1) if self.signed else (0, (1 << self.width) - 1)
        if not low <= value <= high:
            raise FieldError(f"{self.name} must be from {low} to {high}, not {value}")


def _u(name: str, width: int, doc: str, also: str = "") -> Field:
    return Field(name, width, doc, also=also)


def _s(name: str, width: int, doc: str) -> Field:
    return Field(name, width, doc, signed=True)


def _skip(width: int) -> Field:
    return Field("", width, "reserved, zero")


@dataclass(frozen=True)
class InstructionType:
    """Layout of one kind of instruction: name, opcode, meaning, and the fields of each word from bit 0 upwards."""

    name: str
    opcode: int
    doc: str
    words: tuple[tuple[Field, ...], ...]

    def __post_init__(self) -> None:
        for index, word in enumerate(self.words):
            if sum(field.width for field in word) != 32:
                raise ValueError(f"word {index} of {self.name} must have 32 bits")

    @property
    def length(self) -> int:
        """Words of the instruction."""
        return len(self.words)

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Named fields, in order."""
        return {field.name: field for word in self.words for field in word if field.name}

    @cached_property
    def second_names(self) -> dict[str, str]:
        """Second names of fields, and their first ones."""
        return {field.also: field.name for word in self.words for field in word if field.also}

    @cached_property
    def blank(self) -> dict[str, int]:
        """Values of all fields where none is given."""
        return dict.fromkeys(self.fields, 0) | {"opcode": self.opcode, "length": self.length}

    @cached_property
    def places(self) -> tuple[tuple[tuple[str, int, int], ...], ...]:
        """Of each word: name, mask and offset of its fields."""
        return tuple(tuple((field.name, (1 << field.width) - 1, sum(before.width for before in word[:index]))
                           for index, field in enumerate(word) if field.name) for word in self.words)

    def __call__(self, **values: int) -> "Instruction":
        return Instruction(self, values)

    def layout(self) -> data.StructLayout:
        """The whole instruction as an Amaranth layout (`32 * length` bits, fields at their places)."""
        members: dict[str, Any] = {}
        for index, word in enumerate(self.words):
            offset = 0
            for field in word:
                name = field.name or f"_reserved_{index}_{offset}"
                members[name] = signed(field.width) if field.signed else unsigned(field.width)
                offset += field.width
        return data.StructLayout(members)


class Instruction:
    """One instruction: a type and the values of its fields (those not given are 0), checked for range.

    Second names of fields are as good as the first ones; `values` has the first.
    """

    def __init__(self, kind: InstructionType, values: dict[str, int]) -> None:
        self.kind = kind
        for other, name in kind.second_names.items():
            if other in values:
                if name in values:
                    raise ValueError(f"{kind.name}: {other} and {name} are one field")
                values = {name if key == other else key: value for key, value in values.items()}
        self.values = dict(kind.blank)
        for name, value in values.items():
            if name not in kind.fields:
                raise ValueError(f"{kind.name} has no field {name!r}")
            self.values[name] = int(value)
            try:
                kind.fields[name].check(self.values[name])
            except FieldError as error:
                raise FieldError(f"{kind.name}: {error}") from None

    def __getattr__(self, name: str) -> int:
        values = self.__dict__.get("values", {})
        if name in values:
            return values[name]
        if values and name in self.kind.second_names:
            return values[self.kind.second_names[name]]
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instruction) and self.kind is other.kind and self.values == other.values

    def __repr__(self) -> str:
        shown = " ".join(f"{k}={v}" for k, v in self.values.items() if v and k not in ("opcode", "length"))
        return f"{self.kind.name} {shown}".rstrip()

    def encode(self) -> list[int]:
        """The instruction's words, unsigned 32-bit."""
        return [sum((self.values[name] & mask) << offset for name, mask, offset in word) for word in self.kind.places]


_HEADER = (_u("opcode", 8, "what to do; the high digit names the unit"), _u("length", 8, "words of the instruction"),
           _u("tag", 16, "layer number; traces carry it"))


def _semaphores(verb: str, what: str) -> tuple[Field, ...]:
    return tuple(field for i in (0, 1) for field in (
        _u(f"{verb}{i}", SEMAPHORE_NUMBER_BITS, f"semaphore {what}; 0: none"),
        _u(f"{verb}{i}_count", TAKE_BITS, "by this many")))


def _address(letter: str, what: str) -> tuple[Field, ...]:
    return (_u(f"{letter}", ADDRESS_BITS, f"address: {what}"),
            _u(f"{letter}_register", 4, f"address register added to {letter}"), _skip(4))


def _first(what: str) -> Field:
    return _u("first", TOKEN_BITS, f"token number of {what}")


def _ring(letter: str) -> tuple[tuple[Field, ...], ...]:
    return ((_u(f"{letter}_end", ADDRESS_BITS, f"where the ring of {letter.upper()} ends"), _skip(8)),
            (_u(f"{letter}_ring", ADDRESS_BITS, f"bytes of the ring: an address of {letter.upper()} at or past its end "
                "is that much lower; 0: no ring"), _skip(8)))


def _unit(a: str, b: str, c: str) -> tuple[tuple[Field, ...], ...]:
    return (_HEADER, _semaphores("wait", "taken before it starts"), _semaphores("signal", "given when it is done"),
            _address("a", a), _address("b", b), _address("c", c))


_ADDR = ADDRESS_BITS

END = InstructionType("END", 0x01, "Waits until every unit is idle, then stops: the program is done.", (_HEADER,))
LOOP = InstructionType(
    "LOOP", 0x02, f"Executes what follows, up to its NEXT, `count` times; loops nest {LOOP_DEPTH} deep.",
    (_HEADER, (_u("count", 16, "times, at least 1"), _skip(16))))
NEXT = InstructionType("NEXT", 0x03, "Ends the body of the innermost LOOP.", (_HEADER,))
ADDRESS = InstructionType(
    "ADDRESS", 0x04, "Sets an address register, or adds to it.",
    (_HEADER, (_u("register", 4, "1 to 15; 0 stays 0"), _u("add", 1, "1: add, 0: set"),
               _u("scaled", 1, "1: value is first multiplied by LENGTH"), _skip(26)),
     (_s("value", 32, "set to, or added to, modulo 2**24"),)))
SYNC = InstructionType(
    "SYNC", 0x05, "The sequencer itself waits and signals.",
    (_HEADER, _semaphores("wait", "taken before it starts"), _semaphores("signal", "given when it is done")))
JUMP = InstructionType(
    "JUMP", 0x06, "Goes on at another address, in no LOOP. What the sequencer keeps stays. The instructions there may "
    "have come while it waited (SYNC): nothing that was read ahead is used.",
    (_HEADER, (_u("address", ADDRESS_BITS, "of the next instruction; a multiple of 4"), _skip(8))))

_MOVE = (
    (_u("external", 32, "external byte address of the first block; a multiple of the port's width"),),
    (_u("block_bytes", _ADDR, "bytes of a block; a multiple of the memory's word"), _skip(8)),
    (_u("blocks", 16, "blocks, at least 1"),
     _u("take", SEMAPHORE_NUMBER_BITS, "semaphore of which 1 is taken before a block; 0: none"),
     _u("give", SEMAPHORE_NUMBER_BITS, "semaphore to which 1 is given after a block; 0: none"),
     _u("indexed", 1, "1: external blocks are named by numbers"), _skip(5)),
    (_u("step", _ADDR, "memory bytes from one block to the next"), _skip(8)),
    (_u("external_step", 32, "external bytes from one block to the next"),),
    (_u("ring", _ADDR, "where the ring starts"), _skip(8)),
    (_u("ring_bytes", _ADDR, "size of the ring in which block addresses wrap; 0: no ring"), _skip(8)),
)
MOVE_IN = InstructionType(
    "MOVE_IN", 0x10, "Copies blocks from external to unified memory. Block i goes to A + i * step, wrapped into the "
    "ring where there is one; a block never lies across the ring's end. Where `indexed` is 1 (on machines with "
    "`activation_products`), it comes from external + n * external_step (modulo 2**32), n the 32-bit number at "
    "C + 4 * i in the unified memory: rows of a table.",
    _unit("first block in memory; a multiple of the memory's word", "unused",
          "with `indexed`: numbers of the blocks; a multiple of 4") + _MOVE)
MOVE_OUT = InstructionType("MOVE_OUT", 0x40, "Copies blocks from unified to external memory; fields as in MOVE_IN.",
                           _unit("first block in memory; a multiple of the memory's word", "unused", "unused") + _MOVE)

ARRAY = InstructionType(
    "ARRAY", 0x20,
    """Convolution or matrix product of one block of output rows, for `tiles` tiles of `cols` output channels.

For n in tiles: for ky, kx, kc (the K tiles, kc innermost): load the next weight tile, then for y in rows_y,
for x in rows_x: feed `rows` bytes from the input row iy = y_start + y * y_step + ky * y_dilation at the byte
position bx = x_start + x * x_step + kx * kx_step + kc * kc_step, at address A + iy * row_pitch + bx. A byte
whose iy is outside 0..height-1, or whose position is outside 0..row_bytes-1, is `pad` instead. Row
y * rows_x + x of the accumulators gets the sum over the K tiles; after the last, the block of
rows_y * rows_x accumulator rows goes to the vector unit. A K tile that reads past what the kernel needs
has zero weights there. Weight tiles lie one after the other from B (`rows` rows of one memory word each),
wrapping from ring + ring_bytes to ring where ring_bytes is not 0. Where a_ring is not 0, the bytes fed at a time are
read a_ring lower if the address of the first of them inside the image is at or past a_end (once; addresses are modulo
2**24 before and after): rows of the input may lie in a ring of whole rows.

On a machine with `activation_products` the weights may be activations: with strided = 1 (ky = kx = 1, no ring) row r of
the weight tile of (n, kc) is the memory word at B + n * b_tile + kc * b_kc + r * b_row, modulo 2**24; all four are
multiples of the word. With transposed = 1 the word is column r instead, on an array whose rows, columns and words are
equal. A tile may so reach past what is meant: rows past it must be fed zeros (centred, and row_bytes
where the input ends), columns past it are not stored by VECTOR; but every word must lie in the memory, or the machine
stops with ADDRESS_OUT_OF_RANGE. With centred = 1 `pad` is subtracted from every byte that is fed (-255..255 then):
what is outside the image counts as 0, as does a byte that equals `pad`, the input's zero point. Sums wrap to int32 in
all cases. Where the machine cannot, either bit is an illegal operand.""",
    _unit("the input's byte at iy = 0, bx = 0", "first weight tile; a multiple of the memory's word", "unused") + (
        (_u("rows_y", 16, "output rows"), _u("rows_x", 16, "output columns; rows_y * rows_x accumulator rows")),
        (_u("ky", 8, "K tiles: kernel rows"), _u("kx", 8, "K tiles: kernel columns"),
         _u("kc", 16, "K tiles: along the bytes of a kernel row")),
        (_u("tiles", 16, "tiles of output channels"), _s("pad", 8, "value outside the image"),
         _u("strided", 1, "1: weights lie as b_row, b_kc and b_tile say"),
         _u("centred", 1, "1: pad is subtracted from what is fed"),
         _u("transposed", 1, "1: the words are columns of the weight tile, not its rows"), _skip(5)),
        (_s("y_start", 16, "iy of the first output row at ky = 0"), _u("height", 16, "input rows")),
        (_u("y_step", 8, "input rows from one output row to the next"),
         _u("y_dilation", 8, "input rows from one ky to the next"), _first("output row y = 0"),
         _u("clip", 1, "1: rows_y is at most LENGTH - first"), _skip(3)),
        (_s("x_start", _ADDR, "bx of the first output column at kx = kc = 0"), _skip(8)),
        (_u("row_bytes", _ADDR, "bytes of an input row that are inside the image"), _skip(8)),
        (_u("row_pitch", _ADDR, "bytes from one input row to the next"), _skip(8)),
        (_u("x_step", _ADDR, "bytes from one output column to the next"), _skip(8)),
        (_u("kx_step", _ADDR, "bytes from one kx to the next; strided: from one row of a weight tile to the next",
            "b_row"), _skip(8)),
        (_u("kc_step", _ADDR, "bytes from one kc to the next"), _skip(8)),
        (_u("ring", _ADDR, "where the ring of weight tiles starts; strided: bytes from one kc's weights to the next's",
            "b_kc"),
         _u("ready", SEMAPHORE_NUMBER_BITS, "semaphore of which 1 is taken before a weight tile is read; 0: none"),
         _skip(3)),
        (_u("ring_bytes", _ADDR, "size of the ring; 0: no ring; strided: bytes from one tile's weights to the next's",
            "b_tile"),
         _u("free", SEMAPHORE_NUMBER_BITS, "semaphore to which 1 is given after a weight tile is read; 0: none"),
         _skip(3)),
        *_ring("a"),
    ))

VECTOR = InstructionType(
    "VECTOR", 0x30,
    """Multiply, reduce, rescale, clamp, store.

For t in tiles: for y in ny: for x in nx: for the elements e of the row (elems of them, elems_last in the last
tile): s = reduce over (wy, wx, operand) of (X + bias) * multiplier, where X is an accumulator or the element
of operand A (then B) at base + t * tile + iy * row + ix * pixel + e * size, iy = y_start + y * y_step +
wy * wy_step, ix = x_start + x * x_step + wx * wx_step; an element outside 0..height-1, 0..width-1 takes no
part. X + bias wraps to int32, products and sums to int64. With no element s = 0. Then
out = clamp(round_shift(s, shift) + zero_point, low, high), stored at C + t * c_tile + y * c_row + x * c_pixel
+ e * size. Rounding: SINGLE adds half and shifts; DOUBLE is gemmlowp's two-step rounding; EVEN rounds ties
to even.

Source ACCUMULATORS takes the array's next `tiles` blocks of ny * nx rows; wy = wx = 1 and one operand.

Parameters are sets of three planes, each padded to whole memory words: int32 bias [cols], int32 multiplier
[cols], uint8 shift [cols] (at most 62); one set follows the other. Source ACCUMULATORS uses set t in
tile t, entry c for column c. Source MEMORY uses entry 0 for every element: bias and multiplier of set 0 for A and of
set 1 for B, the shift of set 0.

reduce PRODUCT (source MEMORY, operands = 1, a window of 1 x 1) makes s = (A + bias of set 0) * (B + bias of set 1),
the sums wrapped to int32, without multipliers.

lookup 1 (out_type INT8, low and high within int8): what is stored is not the clamped value v but byte v + 128 of the
table, 256 bytes from `table` on. Where a_ring (b_ring, c_ring) is not 0, an address of A (B, C) at or past a_end is
a_ring bytes lower (once; addresses are modulo 2**24 before and after). The elements of a row are read and written
min(lanes, memory word / largest of their types) at a time; the address of the first of these decides for all.""",
    _unit("operand A", "operand B", "output") + (
        (_u("params", _ADDR, "first parameter set; a multiple of the memory's word"),
         _u("source", 1, "MEMORY or ACCUMULATORS"),
         _u("operands", 1, "1: B takes part too"), _u("reduce", 2, "SUM, MAX or PRODUCT"),
         _u("rounding", 2, "SINGLE, DOUBLE or EVEN"), _u("lookup", 1, "1: the output goes through the table"),
         _skip(1)),
        (_u("in_type", 2, "element type of A and B: INT8, INT16, INT32"), _u("out_type", 2, "of the output"),
         _first("output row y = 0"),
         _s("zero_point", 16, "added after rounding")),
        (_u("elems", 16, "elements of a row in a tile"), _u("elems_last", 16, "in the last tile")),
        (_u("tiles", 16, "tiles"), _u("wy", 8, "window rows"), _u("wx", 8, "window columns")),
        (_u("ny", 16, "output rows"), _u("nx", 16, "output columns")),
        (_s("y_start", 16, "iy of the first output row at wy = 0"), _u("height", 16, "input rows")),
        (_s("x_start", 16, "ix of the first output column at wx = 0"), _u("width", 16, "input columns")),
        (_u("y_step", 8, "input rows an output row"), _u("x_step", 8, "input columns an output column"),
         _u("wy_step", 8, "input rows a window row"), _u("wx_step", 8, "input columns a window column")),
        (_u("a_tile", _ADDR, "bytes a tile in A"), _skip(8)),
        (_u("a_row", _ADDR, "bytes an input row in A"), _skip(8)),
        (_u("a_pixel", _ADDR, "bytes an input column in A"), _skip(8)),
        (_u("b_tile", _ADDR, "bytes a tile in B"), _skip(8)),
        (_u("b_row", _ADDR, "bytes an input row in B"), _skip(8)),
        (_u("b_pixel", _ADDR, "bytes an input column in B"), _skip(8)),
        (_u("c_tile", _ADDR, "bytes a tile in the output"), _skip(8)),
        (_u("c_row", _ADDR, "bytes an output row"), _skip(8)),
        (_u("c_pixel", _ADDR, "bytes an output column"), _skip(8)),
        (_s("low", 32, "lowest output"),),
        (_s("high", 32, "highest output"),),
        (_u("table", _ADDR, "256 bytes; a multiple of the memory's word"),
         _u("clip", 2, "bit 0: ny is at most LENGTH - first; bit 1: height is at most LENGTH"), _skip(6)),
        *_ring("a"), *_ring("b"), *_ring("c"),
    ))

DEPTHWISE = InstructionType(
    "DEPTHWISE", 0x50,
    """Depthwise convolution of one block of output rows, for `tiles` groups of up to `cols` channels.

For t in tiles: for y in rows_y, x in rows_x, channels c of the group (elems of them, elems_last in the last group):
s = bias[c] + sum over ky, kx of weight[ky, kx, c] * X, where X is the byte of the input at
A + t * a_tile + iy * a_row + ix * a_pixel + c, iy = y_start + y * y_step + ky * y_dilation,
ix = x_start + x * x_step + kx * x_dilation, or `pad` where iy is outside 0..height-1 or ix outside 0..width-1; sums
wrap to int32. Then out = clamp(round_shift(s * multiplier[c], shift[c]) + zero_point, low, high), stored as int8 at
C + t * c_tile + y * c_row + x * c_pixel + c.

The constants of a group are ky * kx memory words of weights, kx innermost (byte c for channel c), then a parameter
set as VECTOR has it; group t's start at B + t * b_tile. ky * kx is at most 64, and the window (ky - 1) * y_dilation + 1
by (kx - 1) * x_dilation + 1 at most 13 by 13, as are ky and kx themselves. Where a_ring (c_ring) is not 0, the channels
of a group are read (written) a_ring lower if the address of the first of them is at or past a_end (once; addresses are
modulo 2**24 before and after). What it writes must not overlap what it reads.""",
    _unit("the input's byte at iy = ix = 0, channel 0", "constants of the first group; a multiple of the memory's word",
          "output") + (
        (_u("rows_y", 16, "output rows"), _u("rows_x", 16, "output columns")),
        (_u("ky", 8, "kernel rows"), _u("kx", 8, "kernel columns"), _u("tiles", 16, "groups of channels")),
        (_u("elems", 8, "channels of a group"), _u("elems_last", 8, "in the last group"),
         _s("pad", 8, "value outside the image"), _u("rounding", 2, "SINGLE, DOUBLE or EVEN"), _skip(6)),
        (_s("y_start", 16, "iy of the first output row at ky = 0"), _u("height", 16, "input rows")),
        (_s("x_start", 16, "ix of the first output column at kx = 0"), _u("width", 16, "input columns")),
        (_u("y_step", 8, "input rows an output row"), _u("x_step", 8, "input columns an output column"),
         _u("y_dilation", 8, "input rows a kernel row"), _u("x_dilation", 8, "input columns a kernel column")),
        (_s("zero_point", 16, "added after rounding"), _s("low", 8, "lowest output"), _s("high", 8, "highest output")),
        (_u("a_tile", _ADDR, "bytes a group in A"), _skip(8)),
        (_u("a_row", _ADDR, "bytes an input row"), _skip(8)),
        (_u("a_pixel", _ADDR, "bytes an input column"), _skip(8)),
        (_u("b_tile", _ADDR, "bytes of a group's constants"), _skip(8)),
        (_u("c_tile", _ADDR, "bytes a group in the output"), _skip(8)),
        (_u("c_row", _ADDR, "bytes an output row"), _skip(8)),
        (_u("c_pixel", _ADDR, "bytes an output column"), _skip(8)),
        *_ring("a"), *_ring("c"),
    ))

SOFTMAX_ELEMS, SOFTMAX_ENTRIES, SOFTMAX_ENTRY_BITS = 4096, 256, 25
"""Longest row of SOFTMAX; entries of its table; bits of an entry that count."""

SOFTMAX = InstructionType(
    "SOFTMAX", 0x60,
    f"""Softmax of each of `rows` rows of `elems` int8 values, or of the first ones of each row.

In row i the first min(elems, valid + floor(i / group) * valid_step) elements take part: all of them where `valid` is
0, and at most `valid_limit` where that is not 0; a `group` of 0 counts as 1. The others count neither for max nor for
S, and have E = 0. A causal mask over rows of [tokens, heads] is valid = first token + 1, valid_step = 1, group = heads.

For each row: d = max - x (0 to 255), E = table[d], S = the sum of E over the row (at most 2**36), L = floor(log2 S),
r = floor((2**(L + 25) / S + 1) / 2) (2**(L + 24) / S, rounded, ties upwards), and
out = min(255, (E * r + 2**(L + 15)) >> (L + 16)) - 128, as int8; all are -128 where S = 0. The table is 256
little-endian int32 of 0 to 2**24; bits {SOFTMAX_ENTRY_BITS} and up of an entry do not count. The output may replace
the input, row by row; otherwise it lies outside of it, since rows are read ahead. Source of the formula:
docs/numerics.md.""",
    _unit("first input row", "the table; a multiple of the memory's word", "first output row") + (
        (_u("rows", 16, "rows, at least 1"), _u("elems", 16, f"elements of a row, 1 to {SOFTMAX_ELEMS}")),
        (_u("a_row", _ADDR, "bytes from one input row to the next"), _skip(8)),
        (_u("c_row", _ADDR, "bytes from one output row to the next"), _skip(8)),
        (_u("valid", 16, "elements of row 0 that take part; 0: all of every row"),
         _u("valid_step", 16, "how many more take part in each further group of rows")),
        (_u("group", 16, "rows of a group; 0 counts as 1"),
         _u("valid_limit", 16, "how many take part at most; 0: no limit")),
        (_first("row 0; each group is a token"),
         _u("clip", 2, "bit 0: rows is at most (LENGTH - first) * group; bit 1: at most LENGTH elements take part"),
         _skip(18)),
    ))

NORM_ELEMS = 2048
"""Longest row of NORM, in elements."""

NORM = InstructionType(
    "NORM", 0x90,
    """Layer norm, or RMS norm, of each of `rows` rows of `elems` values, with a gain and an offset for each channel.

For each row x of n = elems values: S = their sum (0 where `rms` is 1), Q the sum of their squares,
V = 256 * (n * Q - S * S) + epsilon (at most 65 bits), k = max(3, ceil(bit_length(V) / 2)),
V' = floor(V * 2**(36 - 2 * k)), r = min((isqrt(floor(2**72 / V')) + 1) >> 1, 2**18 - 1), or 0 where V = 0. For the
value in channel c: t = round_shift((n * x - S) * r, k - 3), which is (n * x - S) / sqrt(V / 256) with 16 fraction bits
and at most 23 bits, u = round_shift(t * gain[c], shift[c]), and
out = clamp(((u + offset[c] + 128) >> 8) + zero_point, low, high); round_shift adds half and shifts, ties upwards.
Types are INT8 or INT16, little-endian. The parameters of channel c are 8 bytes from B + 8 * c: a word with the gain in
bits 31 to 14 (signed) and the shift in bits 5 to 0, and the offset (int32, in 1/256 of the output's step). An output
row may lie over its own input row, but not over later ones, since rows are read ahead. Source of the formula:
docs/numerics.md.""",
    _unit("first input row", "parameters of the channels; a multiple of the memory's word", "first output row") + (
        (_u("rows", 16, "rows, at least 1"), _u("elems", 16, f"elements of a row, 1 to {NORM_ELEMS}")),
        (_u("a_row", _ADDR, "bytes from one input row to the next"),
         _u("in_type", 2, "element type of the input: INT8 or INT16"), _u("out_type", 2, "of the output"),
         _u("rms", 1, "1: the mean is not subtracted"), _skip(3)),
        (_u("c_row", _ADDR, "bytes from one output row to the next"), _skip(8)),
        (_u("epsilon", 32, "added to 256 * n**2 times the variance; bits 31 to 0"),),
        (_u("epsilon_high", 32, "bits 63 to 32"),),
        (_s("zero_point", 16, "added after rounding"), _first("row 0"),
         _u("clip", 1, "1: rows is at most LENGTH - first"), _skip(3)),
        (_s("low", 16, "lowest output"), _s("high", 16, "highest output")),
    ))

STREAMS, READERS = 32, 4
"""Streams at a time, and readers of each."""
TILE_STEPS, TILE_VALUES = 512, 4096
"""What a tile of PACK and UNPACK has at most: rows * columns * ceil(channels / 8), and rows * columns * channels."""

_TILES = (
    (_u("rows", 16, "rows of a tile"), _u("bands", 16, "bands of tiles, below each other")),
    (_u("columns", 16, "positions of a row in a tile"), _u("columns_last", 16, "in the last tile of a band")),
    (_u("across", 16, "tiles of a band, side by side"), _u("channels", 16, "channels of a position")),
    (_u("stream", 6, "number of the stream"), _u("reader", 2, "UNPACK: which of its readers"),
     _u("readers", 3, "PACK: how many readers it will have"), _u("open", 1, "PACK: the stream starts here"),
     _u("close", 1, "the stream, or this reader's part in it, ends after the last tile"),
     _u("raw", 1, "PACK: tiles are stored as they are"), _u("table_set", 2, "the codec's tables"),
     _s("centre", 8, "the value that counts as zero"), _skip(8)),
)
_PAGES = (
    (_u("limit", 16, "pages on the chip that may be in use; the same in a whole program"), _skip(16)),
    (_u("outside", 32, "external address of the first page outside; a multiple of the port's width"),),
)
_STREAM_DOC = f"""A tile is 2 bytes of index entry and its payload (docs/codec.md), and as many zeros as make that a
multiple of 8 bytes; tiles follow each other over the stream's pages without gaps. Page p of those on the chip
starts at B + p * `page_bytes`, page p of those outside at `outside` + (p - pages on the chip) * `page_bytes` in
external memory (`Config`). A tile has at most {TILE_VALUES} values and {TILE_STEPS} steps (rows * columns *
ceil(channels / 8)). Values are int8; the codec sees them and the centre with their top bit inverted."""
PACK = InstructionType(
    "PACK", 0x70,
    f"""Codes tiles of a tensor in memory and appends them to a stream of pages.

For band in bands: for t in across: the tile of `rows` rows and `columns` positions (columns_last in the last tile)
of `channels` values: value (y, x, c) is at A + (band * rows + y) * a_row + (t * columns + x) * a_pixel + c; where
a_ring is not 0, an address at or past a_end is a_ring lower (once; of each 8 channels the first's decides). `open`: the
stream, which must be unused, begins for `readers` readers; `close`: it is complete after the last tile. Where no page
is left, on the chip or outside, the machine stops with OUT_OF_PAGES.

{_STREAM_DOC}""",
    _unit("the first tile's first value", "page 0; a multiple of the memory's word", "unused") + _TILES + _PAGES + (
        (_u("a_row", _ADDR, "bytes a row"), _skip(8)),
        (_u("a_pixel", _ADDR, "bytes a position"), _skip(8)),
        *_ring("a"),
    ))
UNPACK = InstructionType(
    "UNPACK", 0x80,
    f"""Decodes the next tiles of a stream into memory.

The tiles and their values lie as in PACK, from C on, with c_row, c_pixel, c_end and c_ring. A page is free again when
all readers have gone past it. `close`: the reader reads no more of the stream after the last tile. A tile that is
damaged, or that is not there, stops the machine with DAMAGED_STREAM. The instruction starts only when the
tiles' PACK is done: the program waits for it.

{_STREAM_DOC}""",
    _unit("unused", "page 0; a multiple of the memory's word", "the first tile's first value") + _TILES + _PAGES + (
        (_u("c_row", _ADDR, "bytes a row"), _skip(8)),
        (_u("c_pixel", _ADDR, "bytes a position"), _skip(8)),
        *_ring("c"),
    ))

TYPES = (END, LOOP, NEXT, ADDRESS, SYNC, JUMP, MOVE_IN, ARRAY, VECTOR, MOVE_OUT, DEPTHWISE, SOFTMAX, PACK, UNPACK, NORM)
BY_OPCODE = {kind.opcode: kind for kind in TYPES}
LONGEST = max(kind.length for kind in TYPES) + 1
"""Words of an instruction in either form, at most."""
UNITS = {1: "move_in", 2: "array", 3: "vector", 4: "move_out", 5: "depthwise", 6: "softmax", 7: "pack", 8: "unpack",
         9: "norm"}
"""Units by the high digit of the opcode; 0 is the sequencer itself."""


def markdown() -> str:
    """The reference document of the instruction set."""
    out = ["# Instruction set", "", "Generated from `rtl/isa.py`; do not edit.", "",
           (__doc__ or "").split("\n", 2)[2].strip(), ""]
    for kind in TYPES:
        out += [f"## {kind.name} (opcode 0x{kind.opcode:02x}, {kind.length} words)", "", kind.doc, "",
                "| word | bits | field | meaning |", "|---|---|---|---|"]
        for index, word in enumerate(kind.words):
            offset = 0
            for field in word:
                name = ", ".join(f"`{one}`" for one in (field.name, field.also) if one)
                name += " (signed)" if field.signed else ""
                out.append(f"| {index} | {offset + field.width - 1}:{offset} | {name} | {field.doc} |")
                offset += field.width
        out.append("")
    return "\n".join(out)
