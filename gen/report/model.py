"""What is known of a run, as one data structure: the terminal, the JSON, the HTML file and the trace all show this."""

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Traffic:
    """Bytes that instructions move, as the program says; padding around an image counts as if it were read."""

    external_read: int = 0
    external_write: int = 0
    memory_read: int = 0
    """Of the unified memory, by units and movers."""
    memory_write: int = 0
    constants_external: int = 0
    """Of `external_read`: weights and parameters of layers."""
    weights_memory: int = 0
    """Of `memory_read`: weights on their way into a unit."""

    def __iadd__(self, other: "Traffic") -> "Traffic":
        for f in dataclasses.fields(self):
            setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))
        return self

    def __mul__(self, times: int) -> "Traffic":
        return Traffic(**{f.name: getattr(self, f.name) * times for f in dataclasses.fields(self)})


@dataclass
class Span:
    """An instruction in its unit. Spans of one unit follow one another without overlap: where a unit has more than one
    instruction under way, the time until the older one's end is the older one's."""

    unit: str
    tag: int
    """Index of its layer."""
    layer: str
    start: int
    """Its first busy cycle."""
    end: int
    """The cycle of its last effect."""
    busy: int
    """Busy cycles of the unit since its instruction before this one ended."""
    waits_before: dict[str, int] = field(default_factory=dict)
    """Cycles by what the unit waited for, from that end to `start`."""
    waits: dict[str, int] = field(default_factory=dict)
    """The same from `start` to `end`."""


@dataclass
class Slice:
    """Cycles begin .. end - 1 of a run as the part of one layer."""

    begin: int
    end: int
    unit: str
    """The unit that worked for it; empty: none did."""
    tag: int
    """Index of the layer; -1: none."""


@dataclass
class UnitShare:
    """What one unit did for one layer."""

    unit: str
    instructions: int
    start: int
    end: int
    active: int
    """Cycles of its instructions' spans."""
    busy: int
    waits: dict[str, int]


@dataclass
class LayerReport:
    """One operator. What is None or empty was not measured."""

    name: str
    operator: str
    unit: str
    source: str
    shape: list[int]
    """Of the output: height, width, channels."""
    macs: int
    fill: float
    """Part of the array's multipliers that its tiles fill."""
    fill_causes: list[str]
    """Why they fill no more."""
    note: str
    traffic: Traffic
    cycles: int | None = None
    """Its part of the run: the layers' cycles and `Report.cycles_outside` add up to the run's."""
    start: int | None = None
    """Cycle in which a unit begins with it; movers, which run ahead, do not count."""
    end: int | None = None
    """Cycle of its last result in memory."""
    busy: int | None = None
    """Busy cycles of its unit for it."""
    utilisation: float | None = None
    """macs / (cycles x multipliers of the array), with the cycles in which its unit has its instructions where those
    are more: it then works beside another layer's unit, which the cycles are counted for."""
    waits: dict[str, int] = field(default_factory=dict)
    """Cycles that its unit waited, by cause."""
    units: list[UnitShare] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)
    """`cycles` without the macs / multipliers that it could take, by cause; none are lost of what another one hides."""


@dataclass
class UnitReport:
    """One unit over the whole run."""

    name: str
    instructions: int
    busy: int
    waits: dict[str, int]
    active: int
    """Cycles of its instructions' spans."""
    beside_array: float | None = None
    """Part of its busy cycles in which the array is busy too; see `timeline.beside`. None for the array, and for a unit
    that is never busy."""


@dataclass
class Region:
    """A part of the unified memory that has one use during the whole run."""

    name: str
    address: int
    bytes: int


@dataclass
class TensorReport:
    """A tensor in the unified memory."""

    name: str
    layer: int
    """Index of the layer that makes it; -1 for an input."""
    also: list[str]
    """Tensors that are a part of its bytes, or all of them in another shape."""
    shape: list[int]
    dtype: str
    address: int
    bytes: int
    rows: int
    """Of its rows those that have a place; with fewer than it has, a later row takes an earlier one's."""
    first: int
    """Piece of the program's work from which on its bytes are its own, and `last` up to which; -1: before all."""
    last: int
    within: str
    """The tensor whose bytes it is made in, a part of them or all; empty: they are its own."""
    begin: int | None = None
    """Cycle of the first write, and `end` of the last result that needs it."""
    end: int | None = None


@dataclass
class Hint:
    """Something that costs cycles, and how many."""

    layer: str
    cause: str
    cycles: int
    text: str


@dataclass
class Report:
    """A network on a machine: what it is, and, where it ran on RTL, what it did. Cycles count from the run's start."""

    network: str
    preset: str
    rows: int
    cols: int
    engine: str
    batch: int
    macs: int
    bit_exact: bool | None
    memory_peak_bytes: int
    memory: dict[str, int]
    """Bytes of the parts of the unified memory, `total` and `capacity`."""
    external_bytes_per_cycle: int
    optimise: str
    """What it was compiled for: cycles, memory or balanced."""
    codec: str
    """off, slots or pages."""
    pages: dict[str, int]
    """Pages of packed tensors, empty where there are none: `bytes` of one, the `limit` on the chip, what the samples
    `needed` and, where it ran on RTL, `high_water` and `high_water_outside`."""
    conditions: str
    machine: dict[str, Any]
    """The whole configuration."""
    traffic: Traffic
    program_bytes: int
    """Bytes of the program; the sequencer reads them too."""
    cycles: int | None = None
    cycles_outside: int | None = None
    """After the last result, before the end is seen."""
    utilisation: float | None = None
    external_read_bytes: int | None = None
    """Counted by the machine, as all that follows."""
    external_write_bytes: int | None = None
    pages_outside_bytes: int | None = None
    """Of the two together: packed tensors."""
    counters: dict[str, dict[str, int]] = field(default_factory=dict)
    simulated_cycles_per_second: int | None = None
    port_busy: float | None = None
    """Part of the cycles in which external memory moves bytes."""
    seed: int | None = None
    """Of random inputs."""
    samples: int = 1
    """Inferences; the last one is shown."""
    tensors_compared: int | None = None
    length: int | None = None
    """Tokens of the sequence, of a network with a mask."""
    layers: list[LayerReport] = field(default_factory=list)
    units: list[UnitReport] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    tensors: list[TensorReport] = field(default_factory=list)
    filling: list[list[int]] = field(default_factory=list)
    """Pages in use on the chip where their number changes: [cycle, pages], as seen at the ends of instructions."""
    spans: list[Span] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, record: "Report | dict[str, Any]") -> "Report":
        """The report of a `record`; keys that it does not know are left out."""
        return record if isinstance(record, Report) else _decode(cls, record)


def _decode(kind: Any, value: Any) -> Any:
    """A value out of JSON as the type that a member is declared with."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _decode(hints[f.name], value[f.name])  # type: ignore[operator]
                       for f in dataclasses.fields(kind) if f.name in value})
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is list and value is not None:
        return [_decode(typing.get_args(kind)[0], item) for item in value]
    return value
