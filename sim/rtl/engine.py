"""What every RTL engine of a whole machine does: host accesses, external memory, runs with a trace.

A design has these ports (those in brackets only when it has them):

    clk, rst
    host__request__payload    address 32, write 1, data 32 (from bit 0 on); with __valid, __ready
    host__response__payload   data 32, error 1; with __valid, __ready
    [store_address 32, store_read_data, store_write, store_write_data]   external memory, one beat wide
    running, [interrupt, cycle 32, counters N x 32]
    [<unit>_retired]          valid 1, tag 16; any number of units

One step is one clock cycle: inputs change just after an edge, everything is looked at just before the next one. The
external memory answers `store_read_data` in the cycle of the address and takes a write at the cycle's end. Reset lasts
`RESET_CYCLES`. All engines step a design in exactly the same way, so their cycle counts are equal.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from systolith.gen import verilog
from systolith.gen.errors import UserError
from systolith.rtl.register_map import MEMORY_AT

CACHE = Path(os.environ.get("SYSTOLITH_CACHE", "build")) / "verilator"
"""Where Verilog and compiled models are kept, relative to the working directory."""

RESET_CYCLES = 4
HOST_PATIENCE = 100_000
"""Steps after which a host access that got no answer is an error."""
START_PATIENCE = 1000
"""Steps that `run` waits for `running` to rise."""
EXTERNAL_BYTES = 16 * 1024 * 1024
"""Size of the external memory unless told."""

Progress = Callable[[str], None]


class EngineError(RuntimeError):
    """The simulated machine does not behave as a machine: no answer to the host, undefined bits, a dead simulator."""


@dataclass(frozen=True)
class Design:
    """Verilog of a top module, and the width of each of its ports."""

    name: str
    text: str
    ports: dict[str, int]

    @property
    def beat_bytes(self) -> int:
        """Bytes of a beat of the external memory, 0 when there is none."""
        return self.ports.get("store_read_data", 0) // 8

    @property
    def counters(self) -> int:
        """Number of 32-bit performance counters."""
        return self.ports.get("counters", 0) // 32

    @property
    def units(self) -> list[str]:
        """Units with a `<unit>_retired` port, in the order of the ports."""
        return [name.removesuffix("_retired") for name in self.ports if name.endswith("_retired")]


def design(top: Any, name: str = "bench_top", sources: Iterable[str | Path] = ()) -> Design:
    """The `Design` of a component that has the ports of an engine's design.

    `sources`: Verilog files with models of the primitives that it instantiates.
    """
    ports = {port: len(value) for port, (value, _) in verilog.component_ports(top).items()}
    for needed in ("host__request__payload", "host__response__payload", "running"):
        if needed not in ports:
            raise ValueError(f"an engine's design needs a port {needed}")
    return Design(name, "\n".join([verilog.emit(top, name), *(Path(source).read_text() for source in sources)]), ports)


@dataclass(frozen=True)
class Event:
    """An instruction's last effect: cycle (the machine's own counter), unit, tag, counters at that time."""

    cycle: int
    unit: str
    tag: int
    counters: tuple[int, ...]


@dataclass
class Run:
    """What a run showed. `cycles`: clock cycles in which `running` was 1; `seconds`: wall clock of the simulation."""

    cycles: int
    finished: bool
    counters: tuple[int, ...]
    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def cycles_per_second(self) -> float:
        """Simulation speed."""
        return self.cycles / self.seconds if self.seconds else 0.0


class RtlEngine(ABC):
    """A machine in an RTL simulator, reset and waiting for its host.

    Parameters
    ----------
    machine: the design.
    external_size: bytes of external memory, zeros at first (`external`); not used by a design without the port.
    trace: file for the waveforms (.vcd or .fst).
    progress: is told in one line what takes long.
    """

    name = ""

    def __init__(self, machine: Design, *, external_size: int = EXTERNAL_BYTES, trace: str | Path | None = None,
                 progress: Progress | None = None) -> None:
        if trace is not None and Path(trace).suffix not in (".vcd", ".fst"):
            raise UserError(f"a trace file's name ends in .vcd or .fst, not {Path(trace).name!r}")
        self.design = machine
        self.trace = Path(trace).resolve() if trace is not None else None
        self.progress: Progress = progress or (lambda text: None)
        beat = machine.beat_bytes
        self.external = bytearray(external_size // beat * beat if beat else 0)
        """External memory. The machine sees what is put here, and what it writes is here after `run`."""

    def __enter__(self) -> "RtlEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End the simulator; completes the trace file."""

    @abstractmethod
    def reset(self) -> None:
        """Reset the machine; external memory stays."""

    @abstractmethod
    def host_block(self, write: bool, address: int, words: list[int]) -> tuple[list[int], bool]:
        """One access for each of `words` at successive addresses: data of the answers, and whether one had an error."""

    @abstractmethod
    def run(self, max_cycles: int) -> Run:
        """Step until `running` has risen and fallen, at most `max_cycles`. The host starts the machine before it."""

    @abstractmethod
    def interrupt(self) -> bool:
        """State of the interrupt output."""

    def host_write(self, address: int, data: int) -> None:
        """Write a register."""
        if self.host_block(True, address, [data])[1]:
            raise EngineError(f"the machine answers a write to 0x{address:08x} with an error")

    def host_read(self, address: int) -> int:
        """Read a register."""
        data, error = self.host_block(False, address, [0])
        if error:
            raise EngineError(f"the machine answers a read of 0x{address:08x} with an error")
        return data[0]

    def write_memory(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write unified memory through the host's window; bytes around an unaligned range stay as they are."""
        data = bytes(data)
        head, tail = address % 4, -(address + len(data)) % 4
        if not data:
            return
        if head:
            data = self.read_memory(address - head, head) + data
        if tail:
            data += self.read_memory(address - head + len(data), tail)
        self._memory(True, address - head, [int.from_bytes(data[i:i + 4], "little") for i in range(0, len(data), 4)])

    def read_memory(self, address: int, count: int) -> bytes:
        """Read unified memory through the host's window."""
        head = address % 4
        words = self._memory(False, address - head, [0] * ((head + count + 3) // 4))
        return b"".join(word.to_bytes(4, "little") for word in words)[head:head + count]

    def _memory(self, write: bool, address: int, words: list[int]) -> list[int]:
        data, error = self.host_block(write, MEMORY_AT + address, words)
        if error:
            raise EngineError(f"the machine refuses memory at {address} to {address + 4 * len(words) - 1}")
        return data
