"""What a run did, as records (for JSON) and as tables (for a terminal)."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from systolith.gen.emit.artefact import Artefact
from systolith.sim.rtl.engine import Event


@dataclass
class Measurement:
    """One inference on RTL."""

    cycles: int
    counter_names: list[str]
    """"cycles", then "unit.event", in the order of the values."""
    counters: list[int]
    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0
    """Wall-clock seconds of the simulation."""

    def nested(self) -> dict[str, dict[str, int]]:
        """Counters as {unit: {event: cycles}}."""
        out: dict[str, dict[str, int]] = {}
        for name, value in zip(self.counter_names, self.counters, strict=True):
            unit, _, event = name.partition(".")
            if event:
                out.setdefault(unit, {})[event] = value
        return out


def layer_records(artefact: Artefact, measurement: Measurement | None) -> list[dict[str, Any]]:
    """A record a layer. A layer's cycles run from the end of the one before it to its own last result in memory, so
    they add up to the whole; what it waited for is what the array's counters gained in that time."""
    ends: dict[int, Event] = {}
    if measurement:
        for event in measurement.events:
            if event.unit == "vector":
                ends[event.tag] = event
    previous, before = 0, [0] * len(measurement.counter_names) if measurement else []
    records = []
    for tag, layer in enumerate(artefact.layers):
        record: dict[str, Any] = {
            "name": layer.name, "operator": layer.operator, "unit": layer.unit, "shape": list(layer.shape),
            "macs": layer.macs, "fill": round(layer.fill, 4), "note": layer.note}
        if measurement:
            end = ends.get(tag)
            cycles = end.cycle - previous if end else 0
            waits = {}
            if end:
                gained = {n: b - a for n, a, b in zip(measurement.counter_names, before, end.counters, strict=True)}
                waits = {n.split(".wait_", 1)[1]: v for n, v in gained.items()
                         if n.startswith(f"{layer.unit}.wait_") and v}
                previous, before = end.cycle, list(end.counters)
            record |= {"cycles": cycles, "waits": waits,
                       "utilisation": round(layer.macs / (cycles * artefact.config.macs), 4) if cycles else 0.0}
        records.append(record)
    return records


def run_record(artefact: Artefact, engine: str, preset: str, bit_exact: bool | None,
               measurement: Measurement | None, latency: int) -> dict[str, Any]:
    """Everything that a benchmark says of one network."""
    c = artefact.config
    record: dict[str, Any] = {
        "network": artefact.graph.name, "preset": preset, "rows": c.rows, "cols": c.cols, "engine": engine, "batch": 1,
        "macs": artefact.macs, "bit_exact": bit_exact, "memory_peak_bytes": artefact.sizes["total"],
        "memory": artefact.sizes, "external_bytes_per_cycle": c.external_bytes,
    }
    if measurement:
        counters = measurement.nested()
        record |= {
            "cycles": measurement.cycles,
            "utilisation": round(artefact.macs / (measurement.cycles * c.macs), 4),
            "external_read_bytes": counters.get("move_in", {}).get("busy", 0) * c.external_bytes,
            "external_write_bytes": counters.get("move_out", {}).get("busy", 0) * c.external_bytes,
            "counters": counters,
            "simulated_cycles_per_second":
                round(measurement.cycles / measurement.seconds) if measurement.seconds else None,
        }
    weights = (f"weights start in external memory ({c.external_bytes} bytes a cycle, latency {latency} cycles)"
               if c.external_bytes else "weights lie in the unified memory")
    record["conditions"] = (
        f"batch 1, array {c.rows} x {c.cols}, unified memory {c.memory_bytes} bytes, input in it at the start, "
        f"{weights}, cycles from the first instruction to the last result in memory, measured on RTL ({engine}); "
        f"one MAC is two operations"
        if measurement else "batch 1, no cycles: " + ("compiled only" if engine == "none"
                                                      else f"engine {engine} counts none"))
    record["layers"] = layer_records(artefact, measurement)
    return record


def console(**options: Any) -> Console:
    """A console that does not cut tables where the output is not a terminal."""
    plain = Console(**options)
    return plain if plain.is_terminal else Console(width=160, **options)


def layer_table(record: dict[str, Any]) -> Table:
    """The layers of a record."""
    measured = "cycles" in record
    title = f"{record['network']} on {record['preset']} ({record['rows']} x {record['cols']}), {record['engine']}"
    table = Table(title=title, title_justify="left")
    for name in ("layer", "operator", "unit", "output"):
        table.add_column(name)
    for name in ("MACs", "array filled", *(("cycles", "utilisation", "waited for (cycles)") if measured else ())):
        table.add_column(name, justify="left" if name.startswith("waited") else "right")
    for layer in record["layers"]:
        row = [layer["name"], layer["operator"], layer["unit"], "x".join(map(str, layer["shape"])),
               f"{layer['macs']:,}", f"{layer['fill']:.0%}" if layer["macs"] else ""]
        if measured:
            row += [f"{layer['cycles']:,}", f"{layer['utilisation']:.1%}" if layer["macs"] else "",
                    ", ".join(f"{k} {v:,}" for k, v in sorted(layer["waits"].items(), key=lambda kv: -kv[1]))]
        table.add_row(*row)
    return table


def summary_lines(record: dict[str, Any]) -> list[str]:
    """The figures below the table."""
    memory = record["memory"]
    lines = []
    if "cycles" in record:
        rate = record["simulated_cycles_per_second"]
        lines += [f"cycles {record['cycles']:,}, MACs {record['macs']:,}, utilisation {record['utilisation']:.2%}, "
                  f"bit-exact: {({True: 'yes', False: 'NO', None: 'not checked'})[record['bit_exact']]}",
                  f"external memory: {record['external_read_bytes']:,} bytes read, "
                  f"{record['external_write_bytes']:,} written"
                  + (f"; simulated at {rate:,} cycles a second" if rate else "")]
    lines += [f"unified memory: {memory['total']:,} of {memory['capacity']:,} bytes (program {memory['program']:,}, "
              f"parameters {memory['parameters']:,}, weights {memory['weights']:,}, "
              f"activations {memory['activations']:,})",
              f"conditions: {record['conditions']}"]
    return lines


def bench_table(records: list[dict[str, Any]]) -> Table:
    """A line a network."""
    table = Table(title="benchmark, batch 1", title_justify="left")
    for name in ("network", "preset", "array"):
        table.add_column(name)
    for name in ("MACs", "cycles", "utilisation", "bit-exact", "memory peak", "external read", "cycles/s simulated"):
        table.add_column(name, justify="right")
    for r in records:
        table.add_row(r["network"], r["preset"], f"{r['rows']} x {r['cols']}", f"{r['macs']:,}",
                      f"{r.get('cycles', 0):,}", f"{r.get('utilisation', 0):.2%}",
                      {True: "yes", False: "NO", None: "?"}[r["bit_exact"]],
                      f"{r['memory_peak_bytes']:,}", f"{r.get('external_read_bytes', 0):,}",
                      f"{r.get('simulated_cycles_per_second') or 0:,}")
    return table
