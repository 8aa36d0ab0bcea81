"""Executes an artefact on an engine: golden model, instruction model, or RTL under Verilator or Icarus."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.emit.artefact import Artefact
from systolith.gen.errors import UserError
from systolith.gen.graph import DTYPES
from systolith.gen.report import Measurement
from systolith.rtl.isa import Instruction
from systolith.sim.golden.execute import execute
from systolith.sim.machine.machine import Machine

ENGINES = ("golden", "machine", "verilator", "icarus")
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


def first_difference(tensor: str, expected: Array, found: Array) -> Difference | None:
    """The first element that differs, in memory order."""
    wrong = np.argwhere(expected != found)
    if not len(wrong):
        return None
    at = tuple(int(i) for i in wrong[0])
    return Difference(tensor, at, int(expected[at]), int(found[at]))


def _read(memory: bytes | Array, artefact: Artefact, name: str) -> Array:
    """A tensor out of a memory image that starts at address 0."""
    tensor, at = artefact.graph.tensors[name], artefact.addresses[name]
    raw = np.frombuffer(bytes(memory[at:at + tensor.bytes]), DTYPES[tensor.dtype])
    return raw.reshape(tensor.shape)


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
        self._machine = Machine(artefact.config, artefact.memory, artefact.external) if engine == "machine" else None
        self._rtl: Any = None
        if engine in ("verilator", "icarus"):
            from systolith.sim.rtl.session import RtlSession
            self._rtl = RtlSession(artefact, engine, trace=trace, progress=progress)

    def close(self) -> None:
        """Ends the simulator, if there is one."""
        if self._rtl:
            self._rtl.close()

    def infer(self, inputs: dict[str, Array]) -> tuple[dict[str, Array], Measurement | None]:
        """One inference on integer inputs [height, width, channels]: outputs alike, and what RTL measured."""
        graph = self.artefact.graph
        golden = execute(graph, inputs) if self.check or self.engine == "golden" else {}
        if self.engine == "golden":
            return {name: golden[name] for name in graph.outputs}, None
        if self._machine:
            return self._infer_machine(inputs, golden), None
        outputs, measurement = self._rtl.infer(inputs)
        for name in graph.outputs:
            self._compare(name, golden, outputs[name])
        return outputs, measurement

    def _compare(self, name: str, golden: dict[str, Array], found: Array) -> None:
        if self.check:
            self.compared += 1
            self.difference = self.difference or first_difference(name, golden[name], found)

    def _infer_machine(self, inputs: dict[str, Array], golden: dict[str, Array]) -> dict[str, Array]:
        machine, artefact = self._machine, self.artefact
        assert machine is not None
        for name, value in inputs.items():
            at = artefact.addresses[name]
            raw = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
            machine.memory[at:at + raw.size] = raw
        complete = {layer.complete_after: layer.output for layer in artefact.layers if layer.unit != "none"}

        def retired(unit: str, instruction: Instruction, number: int) -> None:
            if unit == "vector" and number in complete:
                self._compare(complete[number], golden, _read(machine.memory, artefact, complete[number]))

        machine.on_retired = retired if self.check else None
        machine.run()
        return {name: _read(machine.memory, artefact, name) for name in artefact.graph.outputs}


def random_inputs(artefact: Artefact, seed: int = 1) -> dict[str, Array]:
    """Seeded int8 inputs [height, width, channels]."""
    random = np.random.default_rng(seed)
    out = {}
    for name in artefact.graph.inputs:
        tensor = artefact.graph.tensors[name]
        info = np.iinfo(DTYPES[tensor.dtype])
        out[name] = random.integers(info.min, info.max + 1, tensor.shape, DTYPES[tensor.dtype])
    return out
