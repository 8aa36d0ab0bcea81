"""Runs that are made up, cycle by cycle, so that what a report says of them can be counted."""

from dataclasses import dataclass, field
from functools import cache
from io import StringIO

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact
from systolith.gen.graph import Add, Conv2D, Graph, Pool2D, Reshape, Tensor
from systolith.gen.report import Measurement, Report, console, run_report
from systolith.gen.report.traffic import executed
from systolith.rtl import isa
from systolith.rtl.isa import Instruction
from systolith.sim.rtl.engine import Event
from tests.test_rtl_machine import CONFIG

CAUSES = ("semaphore", "input", "weights")
EVIL = '</title><script>alert("1")</script> & \'x\''
"""A name that HTML must not take for its own."""


@dataclass
class Line:
    """What a made-up unit did in each cycle."""

    unit: str
    busy: list[int] = field(default_factory=list)
    waits: dict[str, list[int]] = field(default_factory=lambda: {cause: [] for cause in CAUSES})
    ends: list[tuple[int, int]] = field(default_factory=list)
    """(cycle, tag) of each instruction's end."""
    starts: list[int] = field(default_factory=list)
    """First busy cycle of each."""

    def step(self, what: str) -> None:
        self.busy.append(int(what == "busy"))
        for cause, seen in self.waits.items():
            seen.append(int(what == cause))

    def instruction(self, tag: int, before: list[str], during: list[str]) -> None:
        """One instruction: what the unit did in the cycles before its first busy one, then from that one on."""
        for what in before:
            self.step(what)
        self.starts.append(len(self.busy))
        for what in ["busy", *during]:
            self.step(what)
        self.ends.append((len(self.busy), tag))  # it shows in the counters when the last cycle is over


def measurement(lines: list[Line], cycles: int) -> Measurement:
    """What a session would tell of these units."""
    names, columns = ["cycles"], [np.arange(cycles + 1)]

    def count(name: str, seen: list[int]) -> None:
        names.append(name)
        counts: NDArray[np.int64] = np.zeros(cycles + 1, np.int64)
        counts[1:len(seen) + 1] = np.cumsum(seen)
        counts[len(seen) + 1:] = counts[len(seen)]
        columns.append(counts)

    for line in lines:
        count(f"{line.unit}.busy", line.busy)
        for cause, seen in line.waits.items():
            count(f"{line.unit}.wait_{cause}", seen)
    table = np.stack(columns, 1)
    ends = [Event(at, line.unit, tag, tuple(table[at].tolist())) for line in lines for at, tag in line.ends]
    starts = [Event(at + 1, line.unit, 0, tuple(table[at + 1].tolist())) for line in lines for at in line.starts]
    return Measurement(cycles, names, table[cycles].tolist(), sorted(ends, key=lambda event: event.cycle), 0.5,
                       sorted(starts, key=lambda event: event.cycle))


def random_lines(artefact: Artefact, seed: int) -> tuple[list[Line], int]:
    """Random times for the program's instructions, and how long the run is; units do not mind each other, and the array
    is busy for as many cycles as rows."""
    random = np.random.default_rng(seed)
    lines: dict[str, Line] = {}
    for instruction, times in executed(artefact.program, artefact.config.instruction_slots):
        unit = isa.UNITS.get(instruction.kind.opcode >> 4)
        for _ in range(times if unit else 0):
            line = lines.setdefault(unit or "", Line(unit or ""))
            i, rows = instruction, int(random.integers(1, 12))
            if unit == "array":
                rows = i.tiles * i.ky * i.kx * i.kc * i.rows_y * i.rows_x
            before, during = (random.choice([*CAUSES, "idle"], random.integers(0, 12)).tolist() for _ in (0, 1))
            line.instruction(i.tag, before, random.permutation([*during, *["busy"] * (rows - 1)]).tolist())
    return list(lines.values()), max(len(line.busy) for line in lines.values()) + 3


def _conv(name: str, x: str, channels: int, kernel: int, inputs: int) -> Conv2D:
    weights = np.random.default_rng(channels).integers(-9, 9, (channels, kernel, kernel, inputs), np.int8)
    ones = np.ones(channels, np.int64)
    side = kernel // 2
    return Conv2D(name, (x,), name, weights, np.zeros(channels, np.int32), ones << 30, ones * 34,
                  padding=(side, side, side, side))


def network(evil: bool = False) -> Graph:
    """A small residual network: convolutions that fill the array badly, a sum, a pool, another shape. `evil`: its
    names, and its own, are made to break HTML."""
    def name(plain: str) -> str:
        return f"{plain}{EVIL}" if evil else plain

    shapes = {"input": (6, 6, 3), "first": (6, 6, 9), "second": (6, 6, 9), "sum": (6, 6, 9), "pool": (1, 1, 9),
              "flat": (1, 1, 9), "last": (1, 1, 5)}
    nodes = (
        _conv(name("first"), name("input"), 9, 3, 3), _conv(name("second"), name("first"), 9, 3, 9),
        Add(name("sum"), (name("first"), name("second")), name("sum"), (1 << 20, 1 << 20), 21),
        Pool2D(name("pool"), (name("sum"),), name("pool"), "average", (6, 6), 1 << 20, 25),
        Reshape(name("flat"), (name("pool"),), name("flat")),
        _conv(name("last"), name("flat"), 5, 1, 9))
    return Graph(name("small"), (name("input"),), (name("last"),),
                 {name(key): Tensor(name(key), shape) for key, shape in shapes.items()}, nodes)


@cache
def artefact(evil: bool = False) -> Artefact:
    """`network` for a machine of 4 x 5 products with external memory."""
    return compile_graph(network(evil), CONFIG)


def program() -> list[tuple[Instruction, int]]:
    """The instructions of `artefact`, and how often each is executed."""
    return list(executed(artefact().program, CONFIG.instruction_slots))


@cache
def case(seed: int = 1, evil: bool = False) -> tuple[Report, list[Line], int]:
    """The report of a made-up run of `artefact`, the units and the cycles that it was made from."""
    lines, cycles = random_lines(artefact(evil), seed)
    return (run_report(artefact(evil), "verilator", "tiny", True, measurement(lines, cycles), 32, seed=seed), lines,
            cycles)


def text(table: Table) -> str:
    """A table as a terminal shows it."""
    terminal = console(record=True, file=StringIO())
    terminal.print(table)
    return terminal.export_text()
