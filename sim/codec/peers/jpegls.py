"""JPEG-LS, lossless: ITU-T T.87 (ISO/IEC 14495-1), which is Weinberger, Seroussi, Sapiro's LOCO-I, IEEE TIP 2000."""

import numpy as np
from numpy.typing import NDArray

_RESET, _LIMIT, _BITS = 64, 32, 8
_J = (0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_STEP = [0 if d == 0 else (1 if d > 0 else -1) * (1 + sum(abs(d) >= t for t in (3, 7, 21))) for d in range(-255, 256)]
_RUN_CONTEXT = 365

Codes = list[tuple[int, int]]
"""Values and their lengths, in bits."""


def jpegls_bits(values: NDArray[np.uint8], zero_point: int) -> float:
    """Each tile (of the project's own default size) by itself, with an index entry of 2 bytes.

    The channels of a tile follow each other as one picture, so that the statistics go on, and no header is counted. A
    tile that would grow stays as it is.
    """
    from ..tensor import batches, default_tile, stack
    tile = default_tile(values.shape)  # type: ignore[arg-type]
    bits = 0
    for part in batches(values.shape, tile):  # type: ignore[arg-type]
        for one in stack(values[part], tile):
            planes = one.transpose(2, 0, 1).reshape(-1, one.shape[1])
            bits += 16 + min(sum(length for _, length in encode(planes)), 8 * one.size)
    return float(bits)


class _Coder:
    """Statistics of the contexts, and the codes so far."""

    def __init__(self) -> None:
        self.a = [4] * (_RUN_CONTEXT + 2)
        self.n = [1] * (_RUN_CONTEXT + 2)
        self.b = [0] * _RUN_CONTEXT
        self.c = [0] * _RUN_CONTEXT
        self.negative = [0, 0]
        self.run_index = 0
        self.codes: Codes = []

    def golomb(self, value: int, k: int, limit: int) -> None:
        """Unary and k bits, or an escape."""
        high = value >> k
        if high < limit - _BITS - 1:
            self.codes.append((1 << k | value & (1 << k) - 1, high + 1 + k))
        else:
            self.codes.append((1 << _BITS | value - 1, limit))

    def regular(self, value: int, context: int, sign: int, left: int, up: int, corner: int) -> None:
        """A value that is not in a run."""
        low, high = (left, up) if left < up else (up, left)
        guess = low if corner >= high else high if corner <= low else left + up - corner
        guess = min(255, max(0, guess + sign * self.c[context]))
        error = (sign * (value - guess) + 128) % 256 - 128
        a, b, n = self.a[context], self.b[context], self.n[context]
        k = 0
        while n << k < a:
            k += 1
        mapped = 2 * error if error >= 0 else -2 * error - 1
        self.golomb(mapped ^ 1 if k == 0 and 2 * b <= -n else mapped, k, _LIMIT)
        a, b = a + abs(error), b + error
        if n == _RESET:
            a, b, n = a >> 1, b >> 1, n >> 1
        n += 1
        if b <= -n:
            b = max(b + n, 1 - n)
            self.c[context] = max(-128, self.c[context] - 1)
        elif b > 0:
            b = min(b - n, 0)
            self.c[context] = min(127, self.c[context] + 1)
        self.a[context], self.b[context], self.n[context] = a, b, n

    def run(self, length: int, ended: bool) -> None:
        """A run of `length` values up to the line's end, or to another value."""
        while length >= 1 << _J[self.run_index]:
            self.codes.append((1, 1))
            length -= 1 << _J[self.run_index]
            self.run_index = min(31, self.run_index + 1)
        if not ended:
            self.codes.append((length, 1 + _J[self.run_index]))
        elif length:
            self.codes.append((1, 1))

    def interruption(self, value: int, left: int, up: int) -> None:
        """The value that ends a run."""
        same = int(left == up)
        error = value - (left if same else up)
        if not same and left > up:
            error = -error
        error = (error + 128) % 256 - 128
        context = _RUN_CONTEXT + same
        a, n, negative = self.a[context], self.n[context], self.negative[same]
        wanted, k = a + (n >> 1 if same else 0), 0
        while n << k < wanted:
            k += 1
        odd = error < 0 if k else (error > 0 and 2 * negative < n) or (error < 0 and 2 * negative >= n)
        mapped = 2 * abs(error) - same - odd
        self.golomb(mapped, k, _LIMIT - _J[self.run_index] - 1)
        negative += error < 0
        a += (mapped + 1 - same) >> 1
        if n == _RESET:
            a, n, negative = a >> 1, n >> 1, negative >> 1
        self.a[context], self.n[context], self.negative[same] = a, n + 1, negative
        self.run_index = max(0, self.run_index - 1)


def encode(picture: NDArray[np.uint8]) -> Codes:
    """The codes of a picture [rows, columns] of one component."""
    coder = _Coder()
    width = picture.shape[1]
    above, start = [0] * (width + 2), 0  # a value left and right of each line
    for row in picture.tolist():
        above[0], above[-1] = start, above[-2]
        line = [above[1], *row, 0]
        x = 1
        while x <= width:
            left, up, corner, right = line[x - 1], above[x], above[x - 1], above[x + 1]
            context = 81 * _STEP[right - up + 255] + 9 * _STEP[up - corner + 255] + _STEP[corner - left + 255]
            if context:
                sign = 1 if context > 0 else -1
                coder.regular(line[x], sign * context, sign, left, up, corner)
                x += 1
                continue
            end = x
            while end <= width and line[end] == left:
                end += 1
            coder.run(end - x, end > width)
            if end <= width:
                coder.interruption(line[end], left, above[end])
            x = end + 1
        start, above = line[0], line
    return coder.codes
