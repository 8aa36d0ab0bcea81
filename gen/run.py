"""Executes an artefact on an engine: golden model, instruction model, cycle model, or RTL under Verilator or Icarus."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.emit.artefact import Artefact, Written
from systolith.gen.errors import UserError
from systolith.gen.graph import DTYPES, Graph, Shape
from systolith.gen.passes.shorten import shortened, tokens_of
from systolith.gen.report import Measurement
from systolith.rtl.errors import ErrorCode, MachineStopped
from systolith.rtl.isa import Instruction
from systolith.sim.golden.execute import execute
from systolith.sim.machine.machine import Machine

ENGINES = ("golden", "machine", "model", "verilator", "icarus")
Array = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """Where an engine first disagrees with the golden model."""

    tensor: str
    index: tuple[int, ...]
    expected: int
    found: int

    def __str__(self) -> str:
        return (f"{self.tensor}{list(self.index)} is {self.found}, the golden model has {self.expected}")


def first_difference(part: Written, whole: Array, found: Array) -> Difference | None:
    """The first element of a part of a tensor that differs from the whole as it should be, in memory order."""
    axes = (part.rows, part.positions, part.channels)
    expected = whole[np.ix_(*axes)]
    wrong = np.argwhere(expected != found)
    if not len(wrong):
        return None
    at = tuple(int(i) for i in wrong[0])
    index = tuple(axis[i] for axis, i in zip(axes, at, strict=True))
    return Difference(part.tensor, index, int(expected[at]), int(found[at]))


def _read(memory: Array, artefact: Artefact, part: Written) -> Array:
    """A part of a tensor out of the memory."""
    place, kind = artefact.places[part.tensor], np.dtype(DTYPES[artefact.graph.tensors[part.tensor].dtype])
    rows, positions = np.array([place.at(y) for y in part.rows], np.int64), np.array(part.positions, np.int64)
    at = rows[:, None, None] + positions[:, None] * place.pixel
    first, count = part.channels.start * kind.itemsize, len(part.channels) * kind.itemsize
    return memory[at + first + np.arange(count)].view(kind)


def _whole(graph: Graph, name: str) -> Written:
    height, width, channels = graph.tensors[name].shape
    return Written("", 0, name, range(height), range(width), range(channels))


def _within(part: Written, shape: Shape) -> Written:
    """What of a part lies in a tensor of that shape."""
    axes = (range(axis.start, min(axis.stop, size), axis.step)
            for axis, size in zip((part.rows, part.positions, part.channels), shape, strict=True))
    return Written(part.unit, part.number, part.tensor, *axes)


def _filled(value: Array, rows: int) -> Array:
    """An input with rows of zeros behind it, up to so many."""
    return value if len(value) >= rows else np.concatenate([value, np.zeros((rows - len(value), *value.shape[1:]),
                                                                            value.dtype)])


def check_engine(engine: str, trace: Path | None = None) -> None:
    """`UserError` for an engine that does not exist, or a trace that it cannot write."""
    if engine not in ENGINES:
        raise UserError(f"there is no engine {engine!r}; there are {', '.join(ENGINES)}")
    if trace is not None and engine not in ("verilator", "icarus"):
        raise UserError(f"the engine {engine} has no waveforms for {trace}; use --engine verilator or icarus")
    if trace is not None and trace.suffix not in (".fst", ".vcd"):
        raise UserError(f"a trace file's name ends in .fst or .vcd, not {trace.name!r}")


class Session:
    """An artefact on one engine, ready for one inference after the other.

    Parameters
    ----------
    artefact: the compiled network. engine: one of `ENGINES`. check: compare with the golden model (on `machine`, every
    tensor). trace: file for waveforms (RTL engines).
    """

    def __init__(self, artefact: Artefact, engine: str, *, check: bool = False, trace: Path | None = None,
                 progress: Any = None) -> None:
        check_engine(engine, trace)
        self.artefact, self.engine, self.check = artefact, engine, check
        self.difference: Difference | None = None
        self.compared = 0
        """Tensors compared with the golden model so far."""
        self._kept: dict[str, Array] = {}
        """What stays in the machine from run to run, as the golden model has it."""
        self._machine = None
        if engine == "machine":
            external = artefact.external.ljust(artefact.external_bytes, b"\0")
            self._machine = Machine(artefact.config, artefact.memory, external)
        self._rtl: Any = None
        if engine in ("verilator", "icarus"):
            from systolith.sim.rtl.session import RtlSession
            self._rtl = RtlSession(artefact, engine, trace=trace, progress=progress)

    def close(self) -> None:
        """Ends the simulator, if there is one."""
        if self._rtl:
            self._rtl.close()

    def infer(self, inputs: dict[str, Array], length: int | None = None,
              ) -> tuple[dict[str, Array], Measurement | None]:
        """One inference on integer inputs [height, width, channels]: outputs alike, and what RTL measured or the model
        predicts. length: tokens of a sequence that is shorter than the network's, whose inputs are at least so long;
        outputs of tokens have as many. Where the graph keeps rows from run to run, how many tokens there are with this
        one."""
        graph, config = self.artefact.graph, self.artefact.config
        if length is None and graph.kept:
            raise UserError(f"{graph.name} goes on with the tokens before: say how many there are with this one")
        tokens = tokens_of(graph) if length is not None else 0
        short = graph if length is None or length == tokens else shortened(graph, length)
        # as the register LENGTH has it
        length = 0 if length is None or (length == tokens and not graph.kept) else length
        if length and self.engine != "golden" and not config.clips:
            raise UserError(f"{config.name} has no length register; set softmax_lanes=4 and norm_lanes=4")
        golden = {}
        if self.check or self.engine in ("golden", "model"):
            golden = execute(short, {name: value[:short.tensors[name].shape[0]] for name, value in inputs.items()},
                             self._kept)
        if self.engine == "golden":
            return {name: golden[name] for name in graph.outputs}, None
        if self.engine == "model":  # it knows times only: the values are the golden model's
            from systolith.sim.model.session import measure
            return {name: golden[name] for name in graph.outputs}, measure(self.artefact, length)
        whole = {name: _filled(value, graph.tensors[name].shape[0]) for name, value in inputs.items()}
        if self._machine:
            return self._infer_machine(whole, golden, short, length), None
        try:
            outputs, measurement = self._rtl.infer(whole, length)
        except MachineStopped as stop:
            raise self._explained(stop) from None
        outputs = {name: outputs[name][:short.tensors[name].shape[0]] for name in graph.outputs}
        for name, found in outputs.items():
            self._compare(_whole(short, name), golden, found)
            self.compared += self.check
        return outputs, measurement

    def _explained(self, stop: MachineStopped) -> Exception:
        """The same with what can be done about it, where a user can."""
        if stop.code != ErrorCode.OUT_OF_PAGES:
            return stop
        artefact, pages = self.artefact, self.artefact.pages
        assert pages is not None
        return UserError(
            f"no page was left for {artefact.tensor_of(stop.information)}: the program may use "
            f"{pages.limit} pages of {artefact.config.page_bytes} bytes, its samples needed {pages.needed}. Compile it "
            f"with more typical --calibrate data, a larger --margin, or for a machine with external memory")

    def _compare(self, part: Written, golden: dict[str, Array], found: Array) -> None:
        if self.check and self.difference is None:
            self.difference = first_difference(part, golden[part.tensor], found)

    def _infer_machine(self, inputs: dict[str, Array], golden: dict[str, Array], graph: Graph, length: int,
                       ) -> dict[str, Array]:
        machine, artefact = self._machine, self.artefact
        assert machine is not None
        raw = {name: np.ascontiguousarray(value).view(np.uint8) for name, value in inputs.items()}
        for name, value in raw.items():
            if name in artefact.places:
                at = artefact.addresses[name]
                machine.memory[at:at + value.size] = value.reshape(-1)
        written: dict[tuple[str, int], list[Written]] = {}
        for one in artefact.written:
            written.setdefault((one.unit, one.number), []).append(one)

        def retired(unit: str, instruction: Instruction, number: int) -> None:
            for part in written.get((unit, number), []):
                part = _within(part, graph.tensors[part.tensor].shape)
                self._compare(part, golden, _read(machine.memory, artefact, part))

        machine.on_retired = retired if self.check else None
        try:
            machine.run(feeds=[(feed, raw[feed.tensor][feed.row].reshape(-1)) for feed in artefact.feeds],
                        length=length)
        except MachineStopped as stop:
            raise self._explained(stop) from None
        self.compared += len({one.tensor for one in artefact.written}) if self.check else 0
        return {name: _read(machine.memory, artefact, _whole(graph, name)) for name in graph.outputs}
