"""The DEPTHWISE instruction in numpy: what `rtl.depthwise` does to memory, instruction by instruction."""

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.config import ADDRESS_BITS
from systolith.rtl.isa import DEPTHWISE_TAPS, DEPTHWISE_WINDOW, EVEN, Instruction

from .vector import output, read_parameters

_MODULUS = 1 << ADDRESS_BITS


def check_depthwise(instruction: Instruction, cols: int, word_bytes: int) -> None:
    """Raises ValueError where the depthwise unit would report an illegal operand."""
    i = instruction
    for name in ("rows_y", "rows_x", "ky", "kx", "tiles", "elems", "elems_last"):
        if getattr(i, name) == 0:
            raise ValueError(f"DEPTHWISE: {name} must be at least 1, not 0")
    for axis, taps, dilation in (("y", i.ky, i.y_dilation), ("x", i.kx, i.x_dilation)):
        if taps > DEPTHWISE_WINDOW or (taps - 1) * dilation >= DEPTHWISE_WINDOW:
            raise ValueError(f"DEPTHWISE: the window must be at most {DEPTHWISE_WINDOW} by {DEPTHWISE_WINDOW}, "
                             f"not k{axis} = {taps} taps {dilation} apart")
    if i.ky * i.kx > DEPTHWISE_TAPS:
        raise ValueError(f"DEPTHWISE: ky * kx must be at most {DEPTHWISE_TAPS}, not {i.ky * i.kx}")
    for name in ("elems", "elems_last"):
        if getattr(i, name) > cols:
            raise ValueError(f"DEPTHWISE: {name} must be at most cols ({cols}), not {getattr(i, name)}")
    for name in ("b", "b_tile"):
        if getattr(i, name) % word_bytes:
            raise ValueError(f"DEPTHWISE: {name} must be a multiple of word_bytes ({word_bytes}), "
                             f"not {getattr(i, name)}")
    if i.rounding > EVEN:
        raise ValueError(f"DEPTHWISE: rounding must be at most {EVEN}, not {i.rounding}")
    if i.low > i.high:
        raise ValueError(f"DEPTHWISE: low must be at most high ({i.high}), not {i.low}")


def execute_depthwise(instruction: Instruction, memory: NDArray[np.uint8], cols: int, word_bytes: int) -> None:
    """Executes a DEPTHWISE instruction on `memory`.

    All of the input is read before any output is written: an instruction whose output overlaps its input is not
    defined. Raises ValueError for an instruction that cannot be executed and IndexError for one that leaves the memory.
    """
    i = instruction
    check_depthwise(i, cols, word_bytes)
    whole = i.tiles if i.elems == i.elems_last else i.tiles - 1
    runs = [run for run in ((0, whole, i.elems), (whole, i.tiles, i.elems_last)) if run[0] < run[1]]
    done = [(first, _run(i, memory, first, last, elems, cols, word_bytes)) for first, last, elems in runs]
    for first, y in done:
        groups, ny, nx, elems = y.shape
        at = _places(i.c + first * i.c_tile, (groups, ny, nx), (i.c_tile, i.c_row, i.c_pixel), i.c_end, i.c_ring)
        memory[(at[..., None] + np.arange(elems)) % _MODULUS] = y.astype(np.int8).view(np.uint8)


def _run(i: Instruction, memory: NDArray[np.uint8], first: int, last: int, elems: int, cols: int, word_bytes: int,
         ) -> NDArray[np.int64]:
    """Outputs of the groups `first` to `last` - 1, all of `elems` channels: [groups, rows_y, rows_x, elems]."""
    groups = last - first
    taps = i.ky * i.kx
    starts = (i.b + np.arange(first, last) * i.b_tile) % _MODULUS
    words = starts[:, None, None] + np.arange(taps)[:, None] * word_bytes + np.arange(elems)
    weights = memory[words].view(np.int8).astype(np.int32)  # [groups, taps, elems]
    sets = [read_parameters(memory, int(start) + taps * word_bytes, cols, word_bytes) for start in starts]
    bias, multiplier, shift = (np.stack([getattr(p, name)[:elems] for p in sets])[:, None, None]
                               for name in ("bias", "multiplier", "shift"))
    x = _map(i, memory, first, groups, elems)
    s = np.broadcast_to(bias, (groups, i.rows_y, i.rows_x, elems)).astype(np.int32)
    for tap in range(taps):
        ky, kx = divmod(tap, i.kx)
        y0, x0 = ky * i.y_dilation, kx * i.x_dilation
        rows = x[:, y0:y0 + 1] if i.y_step == 0 else x[:, y0:y0 + (i.rows_y - 1) * i.y_step + 1:i.y_step]
        seen = rows[:, :, x0:x0 + 1] if i.x_step == 0 else rows[:, :, x0:x0 + (i.rows_x - 1) * i.x_step + 1:i.x_step]
        s += seen * weights[:, tap, None, None]
    return output(s.astype(np.int64) * multiplier, shift, i)


def _map(i: Instruction, memory: NDArray[np.uint8], first: int, groups: int, elems: int) -> NDArray[np.int8]:
    """All input positions from the first window's first to the last one's last: [groups, rows, columns, elems]."""
    ny = (i.rows_y - 1) * i.y_step + (i.ky - 1) * i.y_dilation + 1
    nx = (i.rows_x - 1) * i.x_step + (i.kx - 1) * i.x_dilation + 1
    out = np.full((groups, ny, nx, elems), i.pad, np.int8)
    top, left = max(i.y_start, 0), max(i.x_start, 0)
    bottom, right = min(i.y_start + ny, i.height), min(i.x_start + nx, i.width)
    if top < bottom and left < right:
        at = _places(i.a + first * i.a_tile + top * i.a_row + left * i.a_pixel, (groups, bottom - top, right - left),
                     (i.a_tile, i.a_row, i.a_pixel), i.a_end, i.a_ring)
        inside = out[:, top - i.y_start:bottom - i.y_start, left - i.x_start:right - i.x_start]
        inside[...] = memory[(at[..., None] + np.arange(elems)) % _MODULUS].view(np.int8)
    return out


def _places(base: int, counts: tuple[int, int, int], strides: tuple[int, int, int], end: int, ring: int,
            ) -> NDArray[np.int64]:
    """Addresses of the first channels of groups, rows and columns, in the ring where there is one."""
    group, y, x = np.ogrid[:counts[0], :counts[1], :counts[2]]
    at = (base + group * strides[0] + y * strides[1] + x * strides[2]) % _MODULUS
    if ring:
        at = np.where(at >= end, at - ring, at) % _MODULUS
    return at
