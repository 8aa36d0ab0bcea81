"""What a simulation of the machine tells about one inference."""

from dataclasses import dataclass, field

from systolith.sim.rtl.engine import Event


@dataclass
class Measurement:
    """One inference on RTL."""

    cycles: int
    counter_names: list[str]
    """"cycles", then "unit.event", in the order of the values."""
    counters: list[int]
    events: list[Event] = field(default_factory=list)
    """Ends of instructions."""
    seconds: float = 0.0
    """Wall-clock seconds of the simulation."""
    starts: list[Event] = field(default_factory=list)
    """First busy cycles of instructions, each seen one cycle later; tags mean nothing."""
    pages: tuple[int, int] | None = None
    """Most pages in use on the chip and outside, where the program has streams."""
    filling: list[tuple[int, int]] = field(default_factory=list)
    """Then also, where it is measured: cycles at which instructions end, and the pages in use on the chip."""

    def nested(self) -> dict[str, dict[str, int]]:
        """Counters as {unit: {event: cycles}}."""
        out: dict[str, dict[str, int]] = {}
        for name, value in zip(self.counter_names, self.counters, strict=True):
            unit, _, event = name.partition(".")
            if event:
                out.setdefault(unit, {})[event] = value
        return out
