"""What `systolith complete` shows."""

from collections.abc import Callable, Iterator
from typing import Any

from systolith.gen.errors import UserError
from systolith.gen.report import run_report
from systolith.gen.run import check_engine
from systolith.rtl.config import Config

from .complete import complete, unrepeated
from .engine import TextEngine


def write(prompt: str, count: int, engine: str, config: Config, latency: int, note: Callable[..., None],
          ) -> dict[str, Any]:
    """Prints the prompt and what the model writes on, as it comes, then what it cost; everything for JSON. Its
    `bit_exact` says whether the engine agreed with the golden model, None where there is nothing to compare.

    count: tokens at most. latency: cycles to the first beat of the external memory.
    """
    check_engine(engine)
    if count < 1:
        raise UserError(f"--tokens must be at least 1, not {count}")
    text = TextEngine(engine, config, progress=note)
    try:
        parts: list[str] = []
        for part in _parts(text, prompt, count):
            print(part if parts else prompt + part, end="", flush=True)
            parts.append(part)
        print("" if parts else prompt)
    finally:
        text.close()
    compared = engine not in ("golden", "model")
    record: dict[str, Any] = {"prompt": prompt, "text": "".join(parts), "passes": text.passes, "engine": engine,
                              "bit_exact": text.difference is None if compared else None}
    if text.measurements:
        record |= _cost(text, latency)
    for line in _lines(record):
        print(line)
    if text.difference:
        print(f"token {text.passes}: {text.difference}")
    return record


def _parts(text: TextEngine, prompt: str, count: int) -> Iterator[str]:
    """What the model writes, up to where the engine disagrees with the golden model."""
    for part in complete(text, text.tokenizer, prompt, text.context, count, unrepeated(text.tokenizer)):
        yield part
        if text.difference:
            return


def _cost(text: TextEngine, latency: int) -> dict[str, Any]:
    """Cycles and bytes a token, beside what the port allows at best."""
    cycles = [measured.cycles for measured in text.measurements]
    report = run_report(text.artefact, text.engine, text.artefact.config.name, None, text.measurements[-1], latency)
    mean = sum(cycles) / len(cycles)
    return {"cycles": cycles, "cycles_per_token": mean, "external_bytes_per_token": report.external_read_bytes,
            "weight_bytes": text.weight_bytes, "port_bytes_per_cycle": text.artefact.config.external_bytes,
            "bound_cycles_per_token": text.bound, "part_of_bound": text.bound / mean,
            "memory_bytes": text.artefact.sizes["total"], "conditions": report.conditions}


def _lines(record: dict[str, Any]) -> Iterator[str]:
    """Conditions and figures."""
    same = ", each equal to the golden model's" if record["bit_exact"] else ""
    yield f"{record['passes']} passes on {record['engine']}, prompt included{same}"
    if "cycles" in record:
        yield (f"a token: {record['cycles_per_token']:,.0f} cycles, {record['external_bytes_per_token']:,} bytes of "
               "external memory read")
        if record["bound_cycles_per_token"]:
            yield (f"bound: {record['weight_bytes']:,} bytes of weights, {record['port_bytes_per_cycle']} a cycle, are "
                   f"{record['bound_cycles_per_token']:,.0f} cycles; {record['part_of_bound']:.1%} of it reached")
        yield f"conditions: {record['conditions']}"
