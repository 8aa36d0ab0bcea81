"""The VECTOR instruction in numpy: what `rtl.vector_unit` does to memory, instruction by instruction."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.config import ADDRESS_BITS
from systolith.rtl.isa import ACCUMULATORS, EVEN, INT8, INT32, MAX, PRODUCT, Instruction

from .rescale import round_shift

TYPES = (np.dtype("<i1"), np.dtype("<i2"), np.dtype("<i4"))
"""Element types by their number in the instruction."""
TABLE_BYTES = 256
_MODULUS = 1 << ADDRESS_BITS
_BEYOND = 1 << 40  # past every int32 plus zero point: clipping here changes no output and cannot overflow


@dataclass(frozen=True)
class Parameters:
    """A parameter set: int32 bias and multiplier, and shift (6 bits), of each column."""

    bias: NDArray[np.int32]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]


def plane_words(cols: int, word_bytes: int) -> tuple[int, int]:
    """Memory words of the planes of a parameter set: of bias and of multiplier, each; and of shift."""
    return -(-4 * cols // word_bytes), -(-cols // word_bytes)


def set_bytes(cols: int, word_bytes: int) -> int:
    """Bytes from one parameter set to the next."""
    wide, narrow = plane_words(cols, word_bytes)
    return (2 * wide + narrow) * word_bytes


def pack_parameters(
    bias: NDArray[np.int32], multiplier: NDArray[np.int64], shift: NDArray[np.int64], cols: int, word_bytes: int,
) -> NDArray[np.uint8]:
    """One parameter set as it lies in memory. Arrays of up to `cols` entries; columns without one are 0."""
    wide, _ = plane_words(cols, word_bytes)
    out = np.zeros(set_bytes(cols, word_bytes), np.uint8)
    for at, values, kind in ((0, bias, "<i4"), (wide, multiplier, "<i4"), (2 * wide, shift, "u1")):
        raw = np.asarray(values).astype(kind).view(np.uint8)
        out[at * word_bytes:at * word_bytes + raw.size] = raw
    return out


def read_parameters(memory: NDArray[np.uint8], address: int, cols: int, word_bytes: int) -> Parameters:
    """The parameter set at `address`."""
    wide, _ = plane_words(cols, word_bytes)
    raw = memory[address:address + set_bytes(cols, word_bytes)]
    planes = [raw[at * word_bytes:][:4 * cols].view("<i4") for at in (0, wide)]
    shift = raw[2 * wide * word_bytes:][:cols]
    return Parameters(planes[0].astype(np.int32), planes[1].astype(np.int64), shift.astype(np.int64) & 63)


def check_vector(instruction: Instruction, cols: int, word_bytes: int) -> None:
    """Raises ValueError where the vector unit would report an illegal operand."""
    i = instruction
    for name in ("tiles", "ny", "nx", "wy", "wx", "elems", "elems_last"):
        if getattr(i, name) == 0:
            raise ValueError(f"VECTOR: {name} must be at least 1, not 0")
    for name, highest in (("in_type", INT32), ("out_type", INT32), ("reduce", PRODUCT), ("rounding", EVEN)):
        if getattr(i, name) > highest:
            raise ValueError(f"VECTOR: {name} must be at most {highest}, not {getattr(i, name)}")
    if i.params % word_bytes:
        raise ValueError(f"VECTOR: params must be a multiple of word_bytes ({word_bytes}), not {i.params}")
    if i.low > i.high:
        raise ValueError(f"VECTOR: low must be at most high ({i.high}), not {i.low}")
    if i.source == ACCUMULATORS:
        if (i.wy, i.wx, i.operands) != (1, 1, 0):
            raise ValueError("VECTOR: accumulators go with a window of 1 x 1 and one operand only")
        if max(i.elems, i.elems_last) > cols:
            raise ValueError(f"VECTOR: elems must be at most cols ({cols}), not {max(i.elems, i.elems_last)}")
    if i.reduce == PRODUCT and (i.source == ACCUMULATORS or (i.wy, i.wx, i.operands) != (1, 1, 1)):
        raise ValueError("VECTOR: a product goes with a window of 1 x 1 and two operands in memory only")
    if i.lookup:
        if i.out_type != INT8 or i.low < -128 or i.high > 127:
            raise ValueError("VECTOR: a table takes outputs of type INT8, with low and high from -128 to 127, only")
        if i.table % word_bytes:
            raise ValueError(f"VECTOR: table must be a multiple of word_bytes ({word_bytes}), not {i.table}")


def output(s: NDArray[np.int64], shift: NDArray[np.int64] | int, instruction: Instruction) -> NDArray[np.int64]:
    """Rescaled and clamped sums: what is stored, before it is cut to the output's type."""
    y = np.clip(round_shift(s, shift, instruction.rounding), -_BEYOND, _BEYOND) + instruction.zero_point
    return np.clip(y, instruction.low, instruction.high)


def execute_vector(instruction: Instruction, memory: NDArray[np.uint8], blocks: Iterator[NDArray[np.int32]],
                   cols: int, word_bytes: int, lanes: int) -> None:
    """Executes a VECTOR instruction: reads and writes `memory`, takes its tiles from `blocks` ([ny * nx, cols] each).

    All operands of a tile are read before its output is written: an instruction whose output overlaps its
    operands is only defined where every element is written after the last read of what lay there.
    Raises ValueError for an instruction that cannot be executed and IndexError for one that leaves the memory.
    """
    i = instruction
    check_vector(i, cols, word_bytes)
    step = set_bytes(cols, word_bytes)
    group = min(lanes, word_bytes // max(TYPES[k].itemsize for k in element_types(i)))
    kind = TYPES[i.out_type]
    table = memory[(i.table + np.arange(TABLE_BYTES)) % _MODULUS].view(np.int8).astype(np.int64) if i.lookup else None
    for t in range(i.tiles):
        elems = i.elems_last if t == i.tiles - 1 else i.elems
        if i.source == ACCUMULATORS:
            p = read_parameters(memory, i.params + t * step, cols, word_bytes)
            block = next(blocks)
            if block.shape != (i.ny * i.nx, cols):
                raise ValueError(f"VECTOR: a block must have the shape {(i.ny * i.nx, cols)}, not {block.shape}")
            s = (_biased(block[:, :elems], p.bias[:elems]) * p.multiplier[:elems]).reshape(i.ny, i.nx, elems)
            shift: NDArray[np.int64] | int = p.shift[:elems]
        else:
            sets = [read_parameters(memory, i.params + k * step, cols, word_bytes) for k in range(1 + i.operands)]
            s = _reduce(i, memory, t, elems, sets, group)
            shift = int(sets[0].shift[0])
        y = output(s, shift, i)
        if table is not None:
            y = table[y + 128]
        raw = np.ascontiguousarray(y.astype(kind)).view(np.uint8)
        _scatter(memory, i.c + t * i.c_tile, (i.ny, i.nx, elems * kind.itemsize), (i.c_row, i.c_pixel), raw,
                 _Ring(i.c_end, i.c_ring, group * kind.itemsize))


def element_types(instruction: Instruction) -> tuple[int, ...]:
    """Element types of an instruction in memory: a step takes as many elements as the largest leaves room for."""
    i = instruction
    return (i.out_type,) if i.source == ACCUMULATORS else (i.out_type, i.in_type)


def _biased(x: NDArray[np.integer], bias: NDArray[np.int32]) -> NDArray[np.int64]:
    """x + bias wrapped to int32."""
    return (x.astype(np.int32) + bias).astype(np.int64)


def _inside(start: int, step: int, count: int, size: int) -> slice:
    """Those of 0 .. count - 1 whose position start + k * step is in 0 .. size - 1; they are neighbours."""
    k = start + np.arange(count) * step
    (found,) = np.nonzero((k >= 0) & (k < size))
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)


def _reduce(i: Instruction, memory: NDArray[np.uint8], t: int, elems: int, sets: list[Parameters], group: int,
            ) -> NDArray[np.int64]:
    """Sums, maxima or products over window and operands of one tile: [ny, nx, elems]."""
    operands = ((i.a, i.a_tile, i.a_row, i.a_pixel, i.a_end, i.a_ring),
                (i.b, i.b_tile, i.b_row, i.b_pixel, i.b_end, i.b_ring))[:1 + i.operands]
    kind = TYPES[i.in_type]
    initial = {MAX: np.iinfo(np.int64).min, PRODUCT: 1}.get(i.reduce, 0)
    s = np.full((i.ny, i.nx, elems), initial, np.int64)
    some = np.zeros((i.ny, i.nx), bool)
    for wy in range(i.wy):
        ys = _inside(i.y_start + wy * i.wy_step, i.y_step, i.ny, i.height)
        iy = i.y_start + ys.start * i.y_step + wy * i.wy_step
        for wx in range(i.wx):
            xs = _inside(i.x_start + wx * i.wx_step, i.x_step, i.nx, i.width)
            ix = i.x_start + xs.start * i.x_step + wx * i.wx_step
            count = (ys.stop - ys.start, xs.stop - xs.start)
            if 0 in count:
                continue
            some[ys, xs] = True
            for (base, tile, row, pixel, end, ring), p in zip(operands, sets, strict=True):
                raw = _gather(memory, base + t * tile + iy * row + ix * pixel, (*count, elems * kind.itemsize),
                              (i.y_step * row, i.x_step * pixel), _Ring(end, ring, group * kind.itemsize))
                x = _biased(raw.view(kind), p.bias[0])
                if i.reduce == PRODUCT:
                    s[ys, xs] *= x
                elif i.reduce == MAX:
                    np.maximum(s[ys, xs], x * p.multiplier[0], out=s[ys, xs])
                else:
                    s[ys, xs] += x * p.multiplier[0]
    s[~some] = 0
    return s


class _Ring(NamedTuple):
    """Where accesses wrap: one of `access` bytes that starts at or past `end` is `size` bytes lower."""

    end: int
    size: int
    access: int


def _view(memory: NDArray[np.uint8], base: int, shape: tuple[int, int, int], strides: tuple[int, int],
          ) -> NDArray[np.uint8] | None:
    """The bytes base + y * strides[0] + x * strides[1] + e as a view; None where one wraps or leaves the memory."""
    base %= _MODULUS
    steps = [(k + _MODULUS // 2) % _MODULUS - _MODULUS // 2 for k in strides]
    reach = [k * (n - 1) for k, n in zip(steps, shape, strict=False)]
    if base + sum(min(r, 0) for r in reach) < 0 or base + sum(max(r, 0) for r in reach) + shape[2] > memory.size:
        return None
    return np.lib.stride_tricks.as_strided(memory[base:], shape, (*steps, 1))


def _indices(base: int, shape: tuple[int, int, int], strides: tuple[int, int], ring: _Ring) -> NDArray[np.int64]:
    """Addresses of the bytes; each access of a row has its place in the ring."""
    y, x, e = np.ogrid[:shape[0], :shape[1], :shape[2]]
    within = e % ring.access
    start = (base + y * strides[0] + x * strides[1] + e - within) % _MODULUS
    if ring.size:
        start = np.where(start >= ring.end, start - ring.size, start)
    return (start + within) % _MODULUS


def _gather(memory: NDArray[np.uint8], base: int, shape: tuple[int, int, int], strides: tuple[int, int], ring: _Ring,
            ) -> NDArray[np.uint8]:
    view = None if ring.size else _view(memory, base, shape, strides)
    return memory[_indices(base, shape, strides, ring)] if view is None else np.ascontiguousarray(view)


def _scatter(memory: NDArray[np.uint8], base: int, shape: tuple[int, int, int], strides: tuple[int, int],
             raw: NDArray[np.uint8], ring: _Ring) -> None:
    view = None if ring.size else _view(memory, base, shape, strides)
    if view is None:
        memory[_indices(base, shape, strides, ring)] = raw.reshape(shape)
    else:
        view[...] = raw.reshape(shape)
