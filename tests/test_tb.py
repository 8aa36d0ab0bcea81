"""Every cocotb bench of `tb/`, under Icarus."""

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amaranth import Assert, Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tb.harness import BenchFailure, run_bench

TB = Path(__file__).resolve().parent.parent / "tb"


def _cases() -> Iterator[Any]:
    for path in sorted(TB.glob("*.py")):
        if "def benches(" not in path.read_text() or path.name == "harness.py":
            continue
        try:
            module = importlib.import_module(f"tb.{path.stem}")
            benches = list(module.benches())
        except Exception as error:  # one broken bench must not hide the others
            yield pytest.param(None, error, (), id=path.stem)
            continue
        for name, component, parameters, *sources in benches:
            yield pytest.param(f"tb.{path.stem}", (name, component, parameters), *(sources or [()]), id=name)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
@pytest.mark.parametrize("module, bench, sources", list(_cases()))
def test_bench(module: str | None, bench: Any, sources: tuple[Any, ...]) -> None:
    """The bench's cocotb tests pass."""
    if module is None:
        raise bench
    name, component, parameters = bench
    run_bench(component, name, module, parameters, sources)


class Adder(wiring.Component):
    """Adds `step` to what comes, and asserts that it is not 13."""

    i: In(stream.Signature(8))
    o: Out(stream.Signature(8))

    def __init__(self, step: int) -> None:
        self.step = step
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.o.payload.eq(self.i.payload + self.step), self.o.valid.eq(self.i.valid),
                     self.i.ready.eq(self.o.ready)]
        m.d.sync += Assert(~self.i.valid | (self.i.payload != 13))
        return m


BENCH = """
import cocotb
from tb.harness import parameters
from tb.streams import Sink, Source, silent, stalls, start

@cocotb.test()
async def adds(dut):
    source, sink = Source(dut, "i"), Sink(dut, "o")
    await start(dut)
    source.feed(parameters()["values"], stalls(1))
    await sink.check([value + 1 for value in parameters()["values"]], stalls(2))
    await silent(dut, "o")
"""


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
@pytest.mark.parametrize("step, first, words", [
    (1, 0, None), (2, 0, "adds failed"), (1, 13, "an assertion in the design failed")])
def test_failures_are_seen(step: int, first: int, words: str | None, tmp_path: Path,
                           monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adder_bench.py").write_text(BENCH)
    monkeypatch.syspath_prepend(tmp_path)
    values = list(range(first, first + 30)) if first else list(range(100, 130))
    if words is None:
        run_bench(Adder(step), "adder", "adder_bench", {"values": values})
    else:
        with pytest.raises(BenchFailure, match=words):
            run_bench(Adder(step), "adder", "adder_bench", {"values": values})
