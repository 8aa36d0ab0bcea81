"""Where cycles are lost, why, and what would save them."""

from collections.abc import Sequence

from .model import Hint, LayerReport, Report, Slice, Span
from .timeline import add_up, is_mover

FILL, ALONE, NOTHING, REST = "fill", "alone: ", "no unit works", "start and end"
"""Causes beside what the unit's own counters call a wait."""


def lost_cycles(layer: LayerReport, spans: Sequence[Span], slices: Sequence[Slice], multipliers: int) -> dict[str, int]:
    """The layer's cycles but for macs / multipliers, by cause; they add up.

    fill: its unit is busy, but not with all multipliers. A wait's name: its unit waits. "alone: UNIT": another unit
    works for it and its own does not. "no unit works": between two instructions. "start and end": the rest of
    the time of its unit's instructions, above all rows on their way through the array.
    """
    lost: dict[str, int] = {}
    own = sum(piece.end - piece.begin for piece in slices if piece.unit == layer.unit) if layer.macs else 0
    for piece in slices:
        if not layer.macs or piece.unit != layer.unit:
            cause = f"{ALONE}{piece.unit}" if piece.unit else NOTHING
            lost[cause] = lost.get(cause, 0) + piece.end - piece.begin
    mine = [span for span in spans if span.unit == layer.unit]
    active = sum(span.end - span.start for span in mine)
    if not own or not active:
        return lost
    ideal = min(own, layer.macs // multipliers)
    left = own - ideal
    busy = sum(span.busy for span in mine)
    waits = add_up(span.waits for span in mine)
    if "semaphore" in waits:  # also counts while the weights' semaphore refuses, which is a wait for weights
        waits["semaphore"] = max(0, waits.pop("semaphore") - waits.get("weights", 0))
    for cause, cycles in ((FILL, max(0, busy - layer.macs // multipliers)), *waits.items()):
        part = min(left, cycles * own // active)  # some of its time may belong to a layer of a unit that goes first
        if part:
            lost[cause] = part
            left -= part
    if left:
        lost[REST] = left
    return lost


def hints(report: Report) -> list[Hint]:
    """What costs a thousandth of the run or more, the most expensive first."""
    least = (report.cycles or 0) / 1000
    found = [Hint(layer.name, cause, cycles, _says(report, layer, cause))
             for layer in report.layers for cause, cycles in layer.lost.items() if cycles >= least]
    return sorted(found, key=lambda hint: -hint.cycles)


def _says(report: Report, layer: LayerReport, cause: str) -> str:
    if cause == FILL:
        return _fill(report, layer)
    if cause.startswith(ALONE):
        return _alone(report, layer, cause.removeprefix(ALONE))
    says = {
        "weights": _weights,
        "accumulators": lambda *_: "the array waits for the vector unit to empty a half of the accumulators: more "
                                   "vector_lanes, or a larger accumulator_rows",
        "input": lambda *_: "rows are on their way from the unified memory: its latency after a start, and conflicts",
        "semaphore": lambda *_: f"the {layer.unit} unit waits for results that another unit has not yet made",
        NOTHING: lambda *_: "its first instruction waits for the last result before it, or for its first weights",
        REST: lambda *_: f"rows on their way through the {layer.unit} unit, and set-up",
    }.get(cause)
    return says(report, layer) if says else f"the {layer.unit} unit waits for {cause}"


def _fill(report: Report, layer: LayerReport) -> str:
    multipliers = report.rows * report.cols
    if layer.fill_causes:
        return f"the array is {layer.fill:.0%} filled: {'; '.join(layer.fill_causes)}"
    rate = layer.macs / layer.busy if layer.busy else 0.0
    return f"the {layer.unit} unit makes {rate:.1f} products a busy cycle, of {multipliers} that the array could make"


def _alone(report: Report, layer: LayerReport, unit: str) -> str:
    if not layer.macs:
        return f"the {unit} unit makes it while no products are made: independent work for the array would hide it"
    return (f"the {unit} unit still makes its results and what comes next needs them: smaller last blocks would let "
            "that start earlier")


def _weights(report: Report, layer: LayerReport) -> str:
    needs, port = layer.traffic.constants_external, report.external_bytes_per_cycle
    movers = [share for share in layer.units if is_mover(share.unit)]
    if not needs or not port or not movers:
        return "the next weight tile is not loaded yet: few rows for each tile, or conflicts in the unified memory"
    busy, active = sum(share.busy for share in movers), sum(share.active for share in movers)
    causes = add_up(share.waits for share in movers)
    amount = (f"{needs:,} bytes of weights and parameters take {-(-needs // port):,} cycles at {port} bytes a cycle; "
              f"the mover was busy for {busy:,} of {active:,}")
    if 10 * busy >= 9 * active:
        wanted = -(-needs // max(layer.busy or 0, 1))
        return (f"limited by the bandwidth of external memory: {amount}; {wanted:,} bytes a cycle would keep up with "
                f"the {layer.unit} unit")
    return f"weights come late, though not for want of bandwidth: {amount}" + (
        f" and waited for {max(causes, key=lambda cause: causes[cause])}" if causes else "")
