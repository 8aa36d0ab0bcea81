"""An artefact on a simulated machine: load once, then one inference after the other through the host's registers."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.cache import remember
from systolith.gen.emit.artefact import Artefact
from systolith.gen.graph import DTYPES
from systolith.gen.report import Measurement
from systolith.rtl.bench_top import BenchTop
from systolith.rtl.config import Config
from systolith.rtl.errors import ErrorCode
from systolith.rtl.register_map import BY_NAME

from . import starts
from .engine import EXTERNAL_BYTES, Design, Progress, RtlEngine, design
from .icarus import IcarusEngine
from .starts import Starts
from .verilator import VerilatorEngine

_ENGINES: dict[str, type[RtlEngine]] = {"verilator": VerilatorEngine, "icarus": IcarusEngine}
MAX_CYCLES = 1 << 40
"""No limit of our own: the machine's watchdog ends what hangs."""


class MachineStopped(RuntimeError):
    """The machine stopped with an error; the message names it."""


@cache
def _design(config: Config) -> tuple[Design, list[str]]:
    """The Verilog of a machine in its bench, and the names of its counters."""
    def make() -> dict[str, Any]:
        top = BenchTop(config)
        names = top.machine.counter_names
        made = design(Starts(top, names))
        return {"name": made.name, "text": made.text, "ports": made.ports, "counters": names}

    kept = remember("bench_top", config.to_json() + Path(starts.__file__).read_text(), make)
    return Design(kept["name"], kept["text"], kept["ports"]), kept["counters"]


class RtlSession:
    """A machine in a simulator with a network loaded."""

    def __init__(self, artefact: Artefact, engine: str, *, trace: Path | None = None,
                 progress: Progress | None = None) -> None:
        machine, self.counter_names = _design(artefact.config)
        self.engine = _ENGINES[engine](machine, trace=trace, progress=progress,
                                       external_size=max(EXTERNAL_BYTES, len(artefact.external)))
        self.load(artefact)

    def load(self, artefact: Artefact) -> None:
        """Puts another network, compiled for the same machine, into the memories."""
        if len(artefact.external) > len(self.engine.external):
            raise ValueError(f"{artefact.graph.name} needs {len(artefact.external)} bytes of external memory, "
                             f"the simulation has {len(self.engine.external)}")
        self.artefact = artefact
        self.engine.external[:len(artefact.external)] = artefact.external
        self.engine.write_memory(0, artefact.memory)

    def close(self) -> None:
        """Ends the simulator."""
        self.engine.close()

    def infer(self, inputs: dict[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], Measurement]:
        """One inference on integer inputs [height, width, channels]; `MachineStopped` where it ends in an error."""
        artefact, engine = self.artefact, self.engine
        for name, value in inputs.items():
            engine.write_memory(artefact.addresses[name], np.ascontiguousarray(value).tobytes())
        engine.host_write(BY_NAME["ENTRY"].address, 0)
        engine.host_write(BY_NAME["CONTROL"].address, 1)
        run = engine.run(MAX_CYCLES)
        code = engine.host_read(BY_NAME["ERROR_CODE"].address)
        if code:
            information = engine.host_read(BY_NAME["ERROR_INFORMATION"].address)
            at = engine.host_read(BY_NAME["PC"].address)
            raise MachineStopped(f"the machine stopped with {ErrorCode(code).name} (information {information:#x}, "
                                 f"program counter {at:#x}) after {run.cycles} cycles")
        outputs = {}
        for name in artefact.graph.outputs:
            tensor = artefact.graph.tensors[name]
            raw = engine.read_memory(artefact.addresses[name], tensor.bytes)
            outputs[name] = np.frombuffer(raw, DTYPES[tensor.dtype]).reshape(tensor.shape)
        begins, ends = starts.split(run.events)
        return outputs, Measurement(run.cycles, self.counter_names, list(run.counters), ends, run.seconds, begins)
