"""Emitted Verilog: identical modules once, the same behaviour, the same text twice."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from amaranth import Cat, Module, Signal
from amaranth.back import verilog
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from systolith.gen.verilog import component_ports, emit


class Leaf(wiring.Component):
    """A memory and a register; `start` makes one leaf differ from another."""

    a: In(8)
    b: Out(8)

    def __init__(self, start: int = 0, depth: int = 16, width: int = 8) -> None:
        self.start, self.depth, self.width = start, depth, width
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=self.width, depth=self.depth, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        held = Signal(8, init=self.start)
        m.d.comb += [write.addr.eq(self.a), write.data.eq(self.a + held), write.en.eq(1), read.addr.eq(held),
                     self.b.eq(held)]
        m.d.sync += held.eq(held + read.data + self.a)
        return m


class Variant(wiring.Component):
    """A leaf whose copies differ in one thing only, where `value` does: an initial value, a process, a connection."""

    a: In(8)
    b: Out(8)

    def __init__(self, kind: str, value: int) -> None:
        self.kind, self.value = kind, value
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.kind == "initial":
            held = Signal(8, init=self.value, reset_less=True)
            m.d.sync += held.eq(held + self.a)
            m.d.comb += self.b.eq(held)
        elif self.kind == "process":
            m.d.comb += self.b.eq(self.a)
            with m.If(self.a[0]):
                m.d.comb += self.b.eq(self.value)
        else:
            total = Signal(8)
            m.d.comb += [total.eq(self.a + 1), self.b.eq(total.rotate_left(self.value))]
        return m


class Chain(wiring.Component):
    """Pairs of leaves in a chain, each pair with a register on what comes from outside.

    `odd` is the number of a pair that is different. `kind`: instead of pairs, variants with values 2, and 5 for `odd`.
    """

    i: In(8)
    o: Out(8)

    def __init__(self, pairs: int, odd: int | None = None, kind: str | None = None) -> None:
        self.pairs, self.odd, self.kind = pairs, odd, kind
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        value = self.i
        for index in range(self.pairs):
            if self.kind:
                m.submodules[f"variant_{index}"] = part = Variant(self.kind, 5 if index == self.odd else 2)
                m.d.comb += part.a.eq(value)
                value = part.b
                continue
            pair = Module()
            left, right = Leaf(3 if index == self.odd else 0), Leaf(5)
            held = Signal(8, name=f"held_{index}")
            pair.submodules.left, pair.submodules.right = left, right
            pair.d.comb += [left.a.eq(held), right.a.eq(left.b)]
            pair.d.sync += held.eq(value - 1)
            m.submodules[f"pair_{index}"] = pair
            value = Signal(8, name=f"link_{index}")
            m.d.comb += value.eq(right.b ^ index)
        m.d.sync += self.o.eq(value)
        return m


def _modules(text: str) -> list[str]:
    return re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)


def test_identical_modules_are_written_once() -> None:
    assert sorted(_modules(emit(Chain(4), "chain"))) == ["chain", "chain_left", "chain_pair", "chain_right"]


def test_a_different_module_stays() -> None:
    names = _modules(emit(Chain(4, odd=2), "chain"))
    assert len(names) == 6 and len(set(names)) == 6  # two more: the odd leaf and its pair


@pytest.mark.parametrize("kind", ["initial", "process", "connection"])
def test_any_difference_keeps_a_module(kind: str) -> None:
    alike, different = (len(_modules(emit(Chain(6, odd, kind), "chain"))) for odd in (None, 3))
    assert alike < different < 7


def test_text_is_the_same_twice() -> None:
    assert emit(Chain(3), "chain") == emit(Chain(3), "chain")


@pytest.mark.parametrize("width", [8, 32])
def test_zeros_are_compact(width: int) -> None:
    text = emit(Leaf(depth=256, width=width), "leaf")
    assert len(text.splitlines()) < 80
    assert "words_word < 256" in text


def test_contents_of_memories_stay() -> None:
    class Two(wiring.Component):
        a: In(4)
        o: Out(12)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.table = table = Memory(shape=8, depth=16, init=[0, 0, 7])
            m.submodules.bits = bits = Memory(shape=1, depth=16, init=[])
            write, at, bit = bits.write_port(), table.read_port(domain="comb"), bits.read_port(domain="comb")
            m.d.comb += [at.addr.eq(self.a), bit.addr.eq(self.a), self.o.eq(Cat(at.data, bit.data)), write.en.eq(1)]
            return m

    text = emit(Two(), "two")
    assert re.search(r"table \[2\] = 8'h07;", text) and re.search(r"for \(bits_word = 0; bits_word < 16; ", text)
    assert text.count("for (") == 1


def test_constant_members_are_no_ports() -> None:
    class Always(wiring.Component):
        i: In(stream.Signature(4, always_ready=True))
        unused: In(3)
        o: Out(4)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.d.comb += self.o.eq(self.i.payload)
            return m

    always = Always()
    assert sorted(component_ports(always)) == ["i__payload", "i__valid", "o", "unused"]
    assert "input [2:0] unused" in emit(always, "always_on")


_BENCH = """
module bench;
  reg clk = 0, rst = 0; reg [7:0] i = 0; wire [7:0] o; reg [7:0] values [0:199]; integer n;
  chain dut(.clk(clk), .rst(rst), .i(i), .o(o));
  initial begin
    $readmemh("values.hex", values);
    for (n = 0; n < 200; n = n + 1) begin i = values[n]; #1 $display("%0d", o); clk = 1; #1 clk = 0; end
    $finish;
  end
endmodule
"""


def _icarus(text: str, folder: Path, values: list[int], language: str = "2005") -> list[int]:
    folder.mkdir()
    (folder / "chain.v").write_text(text + _BENCH)
    (folder / "values.hex").write_text("\n".join(f"{value:02x}" for value in values))
    subprocess.run(["iverilog", f"-g{language}", "-Wall", "-o", "sim", "-s", "bench", "chain.v"], cwd=folder,
                   check=True)
    done = subprocess.run(["vvp", "-n", "sim"], cwd=folder, check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split() if line.isdigit()]


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
@pytest.mark.parametrize("kind", [None, "initial", "process", "connection"])
@pytest.mark.parametrize("odd", [None, 1])
def test_merging_does_not_change_behaviour(tmp_path: Path, odd: int | None, kind: str | None) -> None:
    rng = random.Random(7)
    values = [rng.randrange(256) for _ in range(200)]
    chain, expected = Chain(3, odd, kind), []

    async def bench(ctx: object) -> None:
        for value in values:
            ctx.set(chain.i, value)  # type: ignore[attr-defined]
            expected.append(ctx.get(chain.o))  # type: ignore[attr-defined]
            await ctx.tick()  # type: ignore[attr-defined]

    simulator = Simulator(chain)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    plain = verilog.convert(Chain(3, odd, kind), name="chain", emit_src=False)
    assert _icarus(plain, tmp_path / "plain", values) == expected
    assert _icarus(emit(Chain(3, odd, kind), "chain"), tmp_path / "merged", values) == expected


class Pieces(wiring.Component):
    """A word whose low half comes from a choice; its high half from a register that never changes."""

    i: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held, word = Signal(4, init=5), Signal(8)
        m.d.sync += held.eq(held)
        m.d.comb += [word[4:].eq(held ^ 3), self.o.eq(word)]
        with m.If(self.i[0]):
            m.d.comb += word[:4].eq(self.i[4:])
        return m


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog (iverilog) is not installed")
def test_pieces_that_never_change_are_defined(tmp_path: Path) -> None:
    values = [0, 0x31, 0x52, 0x73]
    text = emit(Pieces(), "chain")
    assert _icarus(text, tmp_path / "pieces", (values * 50)[:200], "2012")[:4] == [0x60, 0x63, 0x60, 0x67]
