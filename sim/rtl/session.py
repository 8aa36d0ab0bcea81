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
from systolith.rtl.clip import check_length
from systolith.rtl.config import Config
from systolith.rtl.errors import ErrorCode, MachineStopped
from systolith.rtl.register_map import BY_NAME, MORE, SEMAPHORES_AT

from . import starts
from .engine import EXTERNAL_BYTES, Design, Progress, RtlEngine, design
from .icarus import IcarusEngine
from .starts import Starts
from .verilator import VerilatorEngine

_ENGINES: dict[str, type[RtlEngine]] = {"verilator": VerilatorEngine, "icarus": IcarusEngine}
MAX_CYCLES = 1 << 40
"""No limit of our own: the machine's watchdog ends what hangs."""


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
                                       external_size=max(EXTERNAL_BYTES, artefact.external_bytes))
        self.load(artefact)

    def load(self, artefact: Artefact) -> None:
        """Puts another network, compiled for the same machine, into the memories."""
        if self.engine.external and artefact.external_bytes > len(self.engine.external):
            raise ValueError(f"{artefact.graph.name} needs {artefact.external_bytes} bytes of external memory, "
                             f"the simulation has {len(self.engine.external)}")
        self.artefact = artefact
        self.engine.external[:len(artefact.external)] = artefact.external
        self.engine.write_memory(0, artefact.memory)

    def close(self) -> None:
        """Ends the simulator."""
        self.engine.close()

    def infer(self, inputs: dict[str, NDArray[Any]], length: int = 0) -> tuple[dict[str, NDArray[Any]], Measurement]:
        """One inference on integer inputs [height, width, channels]; `MachineStopped` where it ends in an error.

        `length`: what the register LENGTH says; ValueError where it cannot.
        """
        artefact, engine = self.artefact, self.engine
        for name, value in inputs.items():
            if name in artefact.places:
                engine.write_memory(artefact.addresses[name], np.ascontiguousarray(value).tobytes())
        engine.host_write(BY_NAME["ENTRY"].address, 0)
        check_length(artefact.config, length)
        if artefact.config.clips:
            engine.host_write(BY_NAME["LENGTH"].address, length)
        if artefact.feeds:
            engine.host_write(BY_NAME["GIVE"].address, MORE)
        engine.host_write(BY_NAME["CONTROL"].address, 1)
        self._feed(inputs)
        run = engine.run(MAX_CYCLES)
        code = engine.host_read(BY_NAME["ERROR_CODE"].address)
        if code:
            information = engine.host_read(BY_NAME["ERROR_INFORMATION"].address)
            at = engine.host_read(BY_NAME["PC"].address)
            raise MachineStopped(f"the machine stopped with {ErrorCode(code).name} (information {information:#x}, "
                                 f"program counter {at:#x}) after {run.cycles} cycles", ErrorCode(code), information)
        outputs = {}
        for name in artefact.graph.outputs:
            tensor = artefact.graph.tensors[name]
            raw = engine.read_memory(artefact.addresses[name], tensor.bytes)
            outputs[name] = np.frombuffer(raw, DTYPES[tensor.dtype]).reshape(tensor.shape)
        begins, ends = starts.split(run.events)
        counters = list(run.counters[:len(self.counter_names)])
        measured = Measurement(run.cycles, self.counter_names, counters, ends, run.seconds, begins)
        if artefact.pages:
            both = engine.host_read(BY_NAME["PAGES"].address)
            measured.pages = both & 0xFFFF, both >> 16
            measured.filling = [(event.cycle, event.counters[-1]) for event in ends]
        return outputs, measured

    def _feed(self, inputs: dict[str, NDArray[Any]]) -> None:
        """Brings rows of inputs while the machine runs, each when there is a place for it; gives up where it stops."""
        engine, feeds = self.engine, self.artefact.feeds
        for feed in feeds:
            for semaphore, count in feed.after.items():
                while engine.host_read(SEMAPHORES_AT + 4 * semaphore) < count:
                    if not engine.host_read(BY_NAME["STATUS"].address) & 1:
                        return  # `feeding` stays: the machine has stopped
            engine.write_memory(feed.address, np.ascontiguousarray(inputs[feed.tensor][feed.row]).tobytes())
            for semaphore in feed.gives:
                engine.host_write(BY_NAME["GIVE"].address, MORE | 1 << 16 | semaphore)
        if feeds:
            engine.host_write(BY_NAME["GIVE"].address, 0)
