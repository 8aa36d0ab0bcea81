"""Divider values of the ECP5's PLL."""

from dataclasses import dataclass

from systolith.gen.errors import UserError


@dataclass(frozen=True)
class Pll:
    """Settings of an EHXPLLL whose feedback comes from CLKOP: `out = in * feedback / reference`."""

    reference: int
    feedback: int
    output: int
    mhz: float
    """Frequency of CLKOP."""


def pll(source_mhz: float, target_mhz: float) -> Pll:
    """The settings that come closest to `target_mhz` from below, with the fastest oscillator among equals.

    Limits as in Project Trellis' ecppll: phase detector 3.125 to 400 MHz, oscillator 400 to 800 MHz, output 10 to
    400 MHz, dividers 1 to 128.
    """
    best: Pll | None = None
    best_key = (0.0, 0.0, 0)
    for reference in range(1, 129):
        detector = source_mhz / reference
        if detector < 3.125:
            break
        feedback = min(128, int(target_mhz / detector + 1e-9))
        mhz = detector * feedback
        output = min(128, int(800 / mhz + 1e-9)) if feedback else 0
        if not output or not 400 <= mhz * output <= 800 or not 10 <= mhz <= 400:
            continue
        key = (mhz, mhz * output, -reference)
        if key > best_key:
            best, best_key = Pll(reference, feedback, output, mhz), key
    if best is None:
        raise UserError(f"a PLL cannot make {target_mhz} MHz from {source_mhz} MHz")
    return best
