"""A decoder of JPEG-LS scans, lossless, one component of 8 bits: the decoding procedure of ITU-T T.87."""

from collections.abc import Iterator

J = [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15]


def gradient(d: int) -> int:
    """Table of A.3.3 with its default thresholds."""
    for bound, region in ((-21, -4), (-7, -3), (-3, -2), (-1, -1)):
        if d <= bound:
            return region
    for bound, region in ((0, 0), (2, 1), (6, 2), (20, 3)):
        if d <= bound:
            return region
    return 4


class Decoder:
    """Variables are named as in the standard."""

    def __init__(self, bits: str, width: int, height: int) -> None:
        self.bits: Iterator[str] = iter(bits)
        self.width, self.height = width, height
        self.A, self.N = [4] * 367, [1] * 367
        self.B, self.C, self.Nn = [0] * 365, [0] * 365, {365: 0, 366: 0}
        self.RUNindex = 0

    def read(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = 2 * value + (next(self.bits) == "1")
        return value

    def golomb(self, k: int, limit: int) -> int:
        zeros = 0
        while next(self.bits) == "0":
            zeros += 1
        if zeros < limit - 9:
            return (zeros << k) + self.read(k)
        return self.read(8) + 1

    def k(self, context: int, size: int) -> int:
        return next(k for k in range(32) if self.N[context] << k >= size)

    def picture(self) -> list[list[int]]:
        rows: list[list[int]] = []
        previous, corner = [0] * self.width, 0
        for _ in range(self.height):
            row: list[int] = []
            while len(row) < self.width:
                x = len(row)
                Rb = previous[x]
                Rd = previous[min(x + 1, self.width - 1)]
                Ra = row[x - 1] if x else Rb
                Rc = previous[x - 1] if x else corner
                Q = [gradient(Rd - Rb), gradient(Rb - Rc), gradient(Rc - Ra)]
                if any(Q):
                    row.append(self.regular(Q, Ra, Rb, Rc))
                else:
                    self.run(row, previous, Ra)
            corner = previous[0]
            rows.append(row)
            previous = row
        return rows

    def regular(self, Q: list[int], Ra: int, Rb: int, Rc: int) -> int:
        SIGN = -1 if next(q for q in Q if q) < 0 else 1
        q = SIGN * (81 * Q[0] + 9 * Q[1] + Q[2])
        Px = min(Ra, Rb) if Rc >= max(Ra, Rb) else max(Ra, Rb) if Rc <= min(Ra, Rb) else Ra + Rb - Rc
        Px = min(255, max(0, Px + SIGN * self.C[q]))
        k = self.k(q, self.A[q])
        M = self.golomb(k, 32)
        if k == 0 and 2 * self.B[q] <= -self.N[q]:
            E = (M - 1) // 2 if M % 2 else -(M // 2) - 1
        else:
            E = -(M + 1) // 2 if M % 2 else M // 2
        self.B[q] += E
        self.A[q] += abs(E)
        if self.N[q] == 64:
            self.A[q] //= 2
            self.B[q] = self.B[q] // 2
            self.N[q] //= 2
        self.N[q] += 1
        if self.B[q] <= -self.N[q]:
            self.B[q] += self.N[q]
            self.C[q] -= self.C[q] > -128
            if self.B[q] <= -self.N[q]:
                self.B[q] = -self.N[q] + 1
        elif self.B[q] > 0:
            self.B[q] -= self.N[q]
            self.C[q] += self.C[q] < 127
            if self.B[q] > 0:
                self.B[q] = 0
        return (Px + SIGN * E) % 256

    def run(self, row: list[int], previous: list[int], Ra: int) -> None:
        while next(self.bits) == "1":
            count = 1 << J[self.RUNindex]
            left = self.width - len(row)
            row += [Ra] * min(count, left)
            if count <= left and self.RUNindex < 31:
                self.RUNindex += 1
            if len(row) == self.width:
                return
        row += [Ra] * self.read(J[self.RUNindex])
        Rb = previous[len(row)]
        RItype = int(Ra == Rb)
        q = 365 + RItype
        k = self.k(q, self.A[q] + (self.N[q] // 2 if RItype else 0))
        EM = self.golomb(k, 32 - J[self.RUNindex] - 1)
        magnitude, odd = (EM + RItype + 1) // 2, (EM + RItype) % 2
        negative = not odd if k == 0 and 2 * self.Nn[q] < self.N[q] else bool(odd)
        E = -magnitude if negative else magnitude
        self.Nn[q] += E < 0
        self.A[q] += (EM + 1 - RItype) // 2
        if self.N[q] == 64:
            self.A[q] //= 2
            self.N[q] //= 2
            self.Nn[q] //= 2
        self.N[q] += 1
        row.append(((Ra if RItype else Rb) + (-E if not RItype and Ra > Rb else E)) % 256)
        self.RUNindex = max(0, self.RUNindex - 1)
