"""The machine as a whole: units take turns, the one whose times are known least far first."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType

import numpy as np

from systolith.rtl import isa
from systolith.rtl.bench_top import LATENCY
from systolith.rtl.config import Config
from systolith.sim.machine.machine import Deadlock

from .array import ArrayUnit
from .host import Host, HostRow
from .lanes import DepthwiseUnit, NormUnit, SoftmaxUnit
from .movers import MoveIn, MoveOut, Port
from .pack import PackUnit
from .pages import Pages
from .program import uses
from .sequencer import Sequencer
from .shared import Shared
from .timing import Timing
from .unit import Unit
from .unpack import UnpackUnit
from .vector import VectorUnit


def _units(shared: Shared, words: list[int], entry: int, tile_bytes: Mapping[int, int],
           external: bytes) -> dict[str, Unit]:
    """The machine's units by name, in the order of its counters."""
    c = shared.config
    units: list[Unit] = [ArrayUnit(shared), VectorUnit(shared)]
    both = c.external_bytes and uses(words, entry, c.instruction_slots, external, isa.MOVE_OUT, isa.PACK)
    port = Port() if both else None
    if c.external_bytes:
        units = [MoveIn("move_in", shared, port), *units, MoveOut("move_out", shared, port)]
    if c.depthwise_lanes:
        units.append(DepthwiseUnit(shared))
    if c.softmax_lanes:
        units.append(SoftmaxUnit(shared))
    if c.norm_lanes:
        units.append(NormUnit(shared))
    if c.codec_lanes:
        pages = Pages(c.page_bytes, tile_bytes)
        units += [PackUnit(shared, pages, port), UnpackUnit(shared, pages, port)]
    return {unit.name: unit for unit in units}


def _step(unit: Unit) -> bool:
    """Lets a unit go on; whether it can."""
    if unit.until is not None:
        if len(unit.until) == unit.seen:
            return False
        unit.until = None
    return next(unit.process)


def predict(config: Config, memory: bytes, entry: int = 0, *, latency: int = LATENCY, feeds: Sequence[HostRow] = (),
            tile_bytes: Mapping[int, int] = MappingProxyType({}), external: bytes = b"",
            length: int = 0, most: int | None = None) -> Timing:
    """What the program at `entry` takes.

    Values do not matter: only instructions are looked at. Where ports meet in the memory's banks, each unit's own
    accesses are followed for the first part of an instruction, with samples of what others do; other conflicts are
    left out.
    `MachineError` where the program is not legal as far as the sequencer sees, `Deadlock` where it would hang.

    Parameters
    ----------
    memory: bytes of the unified memory from address 0, with the program. latency: cycles from a request to external
    memory to its first beat. feeds: what the host brings meanwhile. tile_bytes: what a tile of PACK and UNPACK has
    coded, by tag, which is not known without values; half of the values where it is not given. external: bytes of the
    external memory from address 0, with the parts of a program that is longer than its memory. length: what the
    register LENGTH says. most: cycles after which the rest does not matter; what takes longer may have more cycles than
    predicted.
    """
    words = np.frombuffer(memory[:len(memory) // 4 * 4], "<u4").tolist()
    shared = Shared(config, latency, length)
    units = _units(shared, words, entry // 4, tile_bytes, external)

    def finished() -> int | None:
        if any(len(unit.spans) < unit.queue.instructions for unit in units.values()):
            return None
        return max((unit.spans[-1].end for unit in units.values() if unit.spans), default=0)

    sequencer = Sequencer(shared, words, entry // 4, units, finished, external)
    turns = [sequencer, Host(shared, feeds), *units.values()]
    while not sequencer.cycles:
        if most is not None and sequencer.clock > most:
            return Timing(sequencer.clock, [], {})
        turns.sort(key=attrgetter("clock"))
        if not any(map(_step, turns)):
            raise Deadlock("; ".join(f"{unit.name} waits for {unit.waits_for}" for unit in turns if unit.waits_for))
    spans = sorted((span for unit in units.values() for span in unit.spans), key=lambda span: span.end)
    events = {f"{name}.{event}": intervals for name, unit in units.items() for event, intervals in unit.events.items()}
    pack, unpack = units.get("pack"), units.get("unpack")
    if config.external_bytes and isinstance(pack, PackUnit) and isinstance(unpack, UnpackUnit):
        events |= {"external.unpacked": unpack.unpacked, "external.packed": pack.packed}
    return Timing(sequencer.cycles, spans, events)
