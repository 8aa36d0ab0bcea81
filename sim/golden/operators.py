"""The core graph's operators on integer arrays [..., height, width, channels], exact; leading axes are a batch.

Each returns int32 values within the output's range. Formulae: `systolith.gen.graph`; rounding: `rescale`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.rtl.isa import SINGLE

from .rescale import rescale, round_shift

Array = NDArray[Any]
Padding = tuple[int, int, int, int]
"""top, left, bottom, right"""


def pad_map(x: Array, padding: Padding, value: float = 0) -> Array:
    """`x` with a border of `value`."""
    if not any(padding):
        return x
    top, left, bottom, right = padding
    return np.pad(x, [(0, 0)] * (x.ndim - 3) + [(top, bottom), (left, right), (0, 0)], constant_values=value)


def window_count(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Windows along an axis of `size` (padding included)."""
    return (size - dilation * (kernel - 1) - 1) // stride + 1


def taps(x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int],
         ) -> Iterator[tuple[int, int, Array]]:
    """(ky, kx, what that element of the window sees at every window), views of the padded map `x`."""
    ny = window_count(x.shape[-3], kernel[0], strides[0], dilations[0])
    nx = window_count(x.shape[-2], kernel[1], strides[1], dilations[1])
    for ky in range(kernel[0]):
        y = ky * dilations[0]
        rows = x[..., y:y + (ny - 1) * strides[0] + 1:strides[0], :, :]
        for kx in range(kernel[1]):
            z = kx * dilations[1]
            yield ky, kx, rows[..., z:z + (nx - 1) * strides[1] + 1:strides[1], :]


def correlate(x: Array, weights: Array, strides: tuple[int, int], dilations: tuple[int, int]) -> Array:
    """Sums of products of the padded map `x` with `weights` [out, ky, kx, in], in the arithmetic of x's type."""
    outputs, height, width, inputs = weights.shape
    total: Array | None = None
    row: list[Array] = []
    for ky, kx, seen in taps(x, (height, width), strides, dilations):
        row.append(seen)
        if kx == width - 1:
            columns = np.concatenate(row, axis=-1) if width > 1 else seen
            matrix = weights[:, ky].reshape(outputs, width * inputs).T
            # one flat product: numpy would loop over the leading axes of a stacked one
            part = np.ascontiguousarray(columns).reshape(-1, width * inputs) @ np.ascontiguousarray(matrix)
            total = part if total is None else np.add(total, part, out=total)
            shape, row = columns.shape[:-1], []
    assert total is not None
    return total.reshape(*shape, outputs)


def exact_sums(x: Array, weights: Array, strides: tuple[int, int], dilations: tuple[int, int]) -> NDArray[np.int64]:
    """`correlate` of integers, in floating point where every partial sum is an integer that it holds exactly."""
    largest = int(np.abs(x).max(initial=0))
    bound = largest * int(np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3)).max(initial=0))
    kind = np.float32 if bound < 1 << 24 else np.float64 if bound < 1 << 53 else np.int64
    return correlate(x.astype(kind), weights.astype(kind), strides, dilations).astype(np.int64)


def conv2d(x: Array, weights: Array, bias: Array, multiplier: Array, shift: Array, *, zero_in: int = 0,
           zero_out: int = 0, strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1),
           padding: Padding = (0, 0, 0, 0), rounding: int = SINGLE, low: int = -128, high: int = 127,
           ) -> NDArray[np.int32]:
    """Convolution: int32 sums (they wrap), bias, rescale a channel."""
    centred = pad_map(np.asarray(x, np.int32) - zero_in, padding)
    sums = (exact_sums(centred, weights, strides, dilations) + np.asarray(bias, np.int64)).astype(np.int32)
    return rescale(sums, multiplier, shift, rounding=rounding, zero_point=zero_out, low=low, high=high)


def matmul(a: Array, b: Array, multiplier: int, shift: int, *, transposed: bool = False, zero_a: int = 0,
           zero_out: int = 0, rounding: int = SINGLE, low: int = -128, high: int = 127) -> NDArray[np.int32]:
    """Product of activations, a head at a time: a [..., rows, heads, K], b [..., K, groups, N] or, `transposed`,
    [..., N, groups, K]; head h takes group h // (heads / groups). int32 sums, one rescale."""
    b = np.swapaxes(b, -3, -1) if transposed else b
    b = np.repeat(np.swapaxes(b, -3, -2), a.shape[-2] // b.shape[-2], axis=-3)  # [..., heads, K, N]
    a = np.swapaxes(np.asarray(a, np.int64) - zero_a, -3, -2)
    # a product of bytes is below 2**16: float64 holds sums of any length exactly
    sums = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64).astype(np.int32)
    return rescale(np.swapaxes(sums, -3, -2), multiplier, shift, rounding=rounding, zero_point=zero_out, low=low,
                   high=high)


def rotary(x: Array, cos: Array, sin: Array, multiplier: tuple[int, int], shift: int, *, zero_x: int = 0,
           zero_cos: int = 0, zero_sin: int = 0, zero_out: int = 0, rounding: int = SINGLE, low: int = -128,
           high: int = 127) -> NDArray[np.int32]:
    """Rotary positions of x [..., rows, heads, n] by cos and sin [..., rows, 1, n]."""
    x = np.asarray(x, np.int64) - zero_x
    half = x.shape[-1] // 2
    turned = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    s = x * (np.asarray(cos, np.int64) - zero_cos) * multiplier[0]
    s += turned * (np.asarray(sin, np.int64) - zero_sin) * multiplier[1]
    return np.clip(round_shift(s, shift, rounding) + zero_out, low, high).astype(np.int32)


def add(a: Array, b: Array, multiplier: tuple[int, int], shift: int, *, zero_a: int = 0, zero_b: int = 0,
        zero_out: int = 0, rounding: int = SINGLE, low: int = -128, high: int = 127) -> NDArray[np.int32]:
    """Sum of two tensors, each with its own scale; axes of length 1 are repeated."""
    s = (np.asarray(a, np.int64) - zero_a) * multiplier[0] + (np.asarray(b, np.int64) - zero_b) * multiplier[1]
    return np.clip(round_shift(s, shift, rounding) + zero_out, low, high).astype(np.int32)


def depthwise_conv2d(x: Array, weights: Array, bias: Array, multiplier: Array, shift: Array, *, zero_in: int = 0,
                     zero_out: int = 0, strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1),
                     padding: Padding = (0, 0, 0, 0), rounding: int = SINGLE, low: int = -128, high: int = 127,
                     ) -> NDArray[np.int32]:
    """Convolution of each channel on its own; `weights` [out, ky, kx], out a multiple of the input's channels."""
    centred = pad_map(np.asarray(x, np.int32) - zero_in, padding)
    centred = np.repeat(centred, weights.shape[0] // x.shape[-1], axis=-1)
    total = np.asarray(bias, np.int64)
    for ky, kx, seen in taps(centred, (weights.shape[1], weights.shape[2]), strides, dilations):
        total = total + seen * weights[:, ky, kx].astype(np.int64)
    return rescale(total.astype(np.int32), multiplier, shift, rounding=rounding, zero_point=zero_out, low=low,
                   high=high)


def transposed_conv2d(x: Array, weights: Array, bias: Array, multiplier: Array, shift: Array, *, zero_in: int = 0,
                      zero_out: int = 0, strides: tuple[int, int] = (1, 1), padding: Padding = (0, 0, 0, 0),
                      rounding: int = SINGLE, low: int = -128, high: int = 127) -> NDArray[np.int32]:
    """Transposed convolution: a convolution of the input spread out by `strides`, with the kernel turned round."""
    height, width = x.shape[-3:-1]
    kernel = weights.shape[1:3]
    spread = np.zeros((*x.shape[:-3], (height - 1) * strides[0] + 1, (width - 1) * strides[1] + 1, x.shape[-1]),
                      np.int32)
    spread[..., ::strides[0], ::strides[1], :] = np.asarray(x, np.int32) - zero_in
    edges = [kernel[k % 2] - 1 - padding[k] for k in range(4)]  # a negative one is cut off
    spread = pad_map(spread, tuple(max(0, edge) for edge in edges))  # type: ignore[arg-type]
    top, left, bottom, right = (max(0, -edge) for edge in edges)
    spread = spread[..., top:spread.shape[-3] - bottom, left:spread.shape[-2] - right, :]
    return conv2d(spread, weights[:, ::-1, ::-1], bias, multiplier, shift, zero_out=zero_out, rounding=rounding,
                  low=low, high=high)


def mul(a: Array, b: Array, multiplier: int, shift: int, *, zero_a: int = 0, zero_b: int = 0, zero_out: int = 0,
        rounding: int = SINGLE, low: int = -128, high: int = 127) -> NDArray[np.int32]:
    """Product of two tensors; axes of length 1 are repeated."""
    product = (np.asarray(a, np.int32) - zero_a) * (np.asarray(b, np.int32) - zero_b)
    return rescale(product, multiplier, shift, rounding=rounding, zero_point=zero_out, low=low, high=high)


def lookup(x: Array, table: Array) -> NDArray[np.int32]:
    """table[x + 128]."""
    return table.astype(np.int32)[np.asarray(x, np.int32) + 128]


def softmax(x: Array, table: Array, valid: Array | None = None) -> NDArray[np.int32]:
    """Softmax over the last axis: the SOFTMAX instruction. x: int8; table: 256 int32 of 0 to 2**24.

    `valid`: how many elements of each row take part, at least 1 (its shape goes with that of x without the last axis);
    the others come out as -128. All of them without it.
    """
    wide = np.asarray(x, np.int64)
    past = np.arange(wide.shape[-1]) >= (wide.shape[-1] if valid is None else np.asarray(valid)[..., None])
    wide = np.where(past, -128, wide)
    e = np.where(past, 0, table.astype(np.int64)[wide.max(axis=-1, keepdims=True) - wide])
    s = np.maximum(e.sum(axis=-1, keepdims=True), 1)  # where it is 0, so are all of e
    log = np.frexp(s.astype(np.float64))[1].astype(np.int64) - 1  # floor of log2: float64 holds a sum below 2**53
    # 2**(log + 25) // s by two digits, since the power itself may not fit
    high, rest = np.divmod(np.int64(1) << (log + 12), s)
    reciprocal = ((high << 13) + (rest << 13) // s + 1) >> 1
    y = (e * reciprocal + (np.int64(1) << (log + 15))) >> (log + 16)
    return (np.minimum(y, 255) - 128).astype(np.int32)


def resize(x: Array, rows: tuple[tuple[int, int, int], ...], columns: tuple[tuple[int, int, int], ...], bits: int,
           multiplier: int = 1, shift: int = 0, *, zero_in: int = 0, zero_out: int = 0, rounding: int = SINGLE,
           low: int = -128, high: int = 127) -> NDArray[np.int32]:
    """Rows and columns by table; `bits` 0: nearest, which keeps the integers."""
    y, x_at = np.array(rows).T, np.array(columns).T
    if bits == 0:
        return np.asarray(x, np.int32)[..., y[0], :, :][..., x_at[0], :]
    centred = np.asarray(x, np.int64) - zero_in
    one = 1 << bits
    fy, fx = y[2][:, None, None], x_at[2][:, None]
    tall = centred[..., y[0], :, :] * (one - fy) + centred[..., y[1], :, :] * fy
    wide = tall[..., x_at[0], :] * (one - fx) + tall[..., x_at[1], :] * fx
    return rescale(wide, multiplier, 2 * bits + shift, rounding=rounding, zero_point=zero_out, low=low, high=high)


def arg_max(x: Array, last: bool = False) -> NDArray[np.int32]:
    """Index of the first (last) largest element of the last axis, which becomes 1 long."""
    if last:
        return (x.shape[-1] - 1 - np.argmax(x[..., ::-1], axis=-1, keepdims=True)).astype(np.int32)
    return np.argmax(x, axis=-1, keepdims=True).astype(np.int32)


def window_sums(x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Array:
    """Sum of each window of the padded map `x`."""
    seen = [view for _, _, view in taps(x, kernel, strides, dilations)]
    total = seen[0].copy()
    for view in seen[1:]:
        total += view
    return total


def window_maxima(x: Array, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Array:
    """Largest value of each window of the padded map `x`."""
    seen = [view for _, _, view in taps(x, kernel, strides, dilations)]
    best = seen[0].copy()
    for view in seen[1:]:
        np.maximum(best, view, out=best)
    return best


def window_elements(height: int, width: int, kernel: tuple[int, int], strides: tuple[int, int],
                    dilations: tuple[int, int], padding: Padding) -> NDArray[np.int64]:
    """How many elements of each window lie inside a map: [output height, output width, 1]."""
    ones = pad_map(np.ones((height, width, 1), np.int64), padding)
    return window_sums(ones, kernel, strides, dilations)


def pool2d(x: Array, mode: str, kernel: tuple[int, int], multiplier: int, shift: int, *, zero_in: int = 0,
           zero_out: int = 0, strides: tuple[int, int] = (1, 1), dilations: tuple[int, int] = (1, 1),
           padding: Padding = (0, 0, 0, 0), exclude_padding: bool = False,
           border: tuple[tuple[int, int, int], ...] = (), rounding: int = SINGLE, low: int = -128, high: int = 127,
           ) -> NDArray[np.int32]:
    """Largest or average value of each window; 0 + zero_out where a window lies outside altogether."""
    centred = np.asarray(x, np.int64) - zero_in
    inside = window_elements(x.shape[-3], x.shape[-2], kernel, strides, dilations, padding)
    if mode == "max":
        lowest = np.iinfo(np.int64).min
        s = window_maxima(pad_map(centred, padding, lowest), kernel, strides, dilations)
        s = np.where(inside > 0, s, 0)
    elif mode == "average":
        s = window_sums(pad_map(centred, padding), kernel, strides, dilations)
    else:
        raise ValueError(f'mode must be "max" or "average", not {mode!r}')
    multipliers: NDArray[np.int64] | int = multiplier
    shifts: NDArray[np.int64] | int = shift
    if exclude_padding:
        table = {count: (m, sh) for count, m, sh in border} | {0: (0, 0)}
        missing = sorted(set(np.unique(inside).tolist()) - set(table))
        if missing:
            raise ValueError(f"border has no entry for windows of {missing[0]} elements")
        multipliers = np.vectorize(lambda n: table[n][0], otypes=[np.int64])(inside)
        shifts = np.vectorize(lambda n: table[n][1], otypes=[np.int64])(inside)
    return rescale(s, multipliers, shifts, rounding=rounding, zero_point=zero_out, low=low, high=high)


def rescale_map(x: Array, multiplier: int, shift: int, *, zero_in: int = 0, zero_out: int = 0,
                padding: Padding = (0, 0, 0, 0), rounding: int = SINGLE, low: int = -128, high: int = 127,
                ) -> NDArray[np.int32]:
    """Another scale, element by element, and a border of zero_out."""
    centred = np.asarray(x, np.int32) - zero_in
    inner = rescale(centred, multiplier, shift, rounding=rounding, zero_point=zero_out, low=low, high=high)
    return pad_map(inner, padding, zero_out)
