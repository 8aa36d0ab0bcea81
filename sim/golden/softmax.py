"""The SOFTMAX instruction in numpy: what `rtl.softmax_unit` does to memory."""

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.config import ADDRESS_BITS
from systolith.rtl.isa import SOFTMAX_ELEMS, SOFTMAX_ENTRIES, SOFTMAX_ENTRY_BITS, Instruction

from .operators import softmax


def check_softmax(instruction: Instruction, word_bytes: int) -> None:
    """Raises ValueError where the softmax unit would report an illegal operand."""
    i = instruction
    for name in ("rows", "elems"):
        if getattr(i, name) == 0:
            raise ValueError(f"SOFTMAX: {name} must be at least 1, not 0")
    if i.elems > SOFTMAX_ELEMS:
        raise ValueError(f"SOFTMAX: elems must be at most {SOFTMAX_ELEMS}, not {i.elems}")
    if i.b % word_bytes:
        raise ValueError(f"SOFTMAX: b must be a multiple of word_bytes ({word_bytes}), not {i.b}")


def execute_softmax(instruction: Instruction, memory: NDArray[np.uint8], word_bytes: int) -> None:
    """Carries out one instruction on `memory`, in place. Raises ValueError or IndexError where the machine reports."""
    i = instruction
    check_softmax(i, word_bytes)
    raw = memory[row_bytes(i.b, 0, 1, 4 * SOFTMAX_ENTRIES)[0]]
    table = raw.view("<i4") & ((1 << SOFTMAX_ENTRY_BITS) - 1)
    x = memory[row_bytes(i.a, i.a_row, i.rows, i.elems)].view(np.int8)
    memory[row_bytes(i.c, i.c_row, i.rows, i.elems)] = softmax(x, table, row_lengths(i)).astype(np.int8).view(np.uint8)


def row_lengths(instruction: Instruction) -> NDArray[np.int64]:
    """How many elements of each row take part in a SOFTMAX."""
    i = instruction
    most = min(i.elems, i.valid_limit or i.elems)
    if i.valid == 0:
        return np.full(i.rows, most)
    return np.minimum(most, i.valid + np.arange(i.rows) // (i.group or 1) * i.valid_step)


def row_bytes(base: int, pitch: int, rows: int, elems: int) -> NDArray[np.int64]:
    """Addresses of the `elems` bytes of each row: [rows, elems]."""
    return (base + np.arange(rows)[:, None] * pitch + np.arange(elems)) % (1 << ADDRESS_BITS)
