"""Runs a cocotb test module on the Verilog of a component, under Icarus.

A bench `tb/<file>.py` has cocotb tests and a function `benches()` that yields `Bench` tuples
`(name, component, parameters)` or `(name, component, parameters, sources)`: `tests/test_tb.py` runs all of them.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = "SYSTOLITH_BENCH_PARAMETERS"


class BenchFailure(AssertionError):
    """A cocotb test failed, or the simulation did not build or end; the message has the tests and the log's end."""


def parameters() -> dict[str, Any]:
    """In a bench: the parameters that `run_bench` was given (as JSON makes them: tuples are lists)."""
    return json.loads(os.environ.get(PARAMETERS, "{}"))


def run_bench(component: Any, name: str, test_module: str, parameters: Mapping[str, Any] | None = None,
              sources: Iterable[str | Path] = (), seed: int = 1, waves: bool = False) -> None:
    """Emit `component` as Verilog module `name`, build it with `sources` added and run `test_module` on it.

    Everything is under `build/tb/<name>`: the Verilog, `build.log`, `test.log`, and `<name>.fst` when `waves`.
    Raises `BenchFailure`.
    """
    from cocotb_tools.runner import get_runner

    from systolith.gen.verilog import emit

    build = ROOT / "build" / "tb" / name
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    text = build / f"{name}.v"
    text.write_text(emit(component, name))
    runner = get_runner("icarus")
    timescale = ("1ns", "1ps")
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # the runner hands sys.path on to the simulator's Python
    try:
        runner.build(sources=[text, *map(Path, sources)], hdl_toplevel=name, build_dir=build, timescale=timescale,
                     always=True, waves=waves, log_file=build / "build.log")
    except (SystemExit, RuntimeError) as error:
        raise BenchFailure(f"{name} does not build: {error}\n{_tail(build / 'build.log')}") from None
    log = build / "test.log"
    try:
        results = runner.test(hdl_toplevel=name, test_module=test_module, build_dir=build, test_dir=build, seed=seed,
                              timescale=timescale, waves=waves, log_file=log, results_xml=str(build / "results.xml"),
                              extra_env={PARAMETERS: json.dumps(dict(parameters or {}))})
    except (SystemExit, RuntimeError) as error:
        failed = ", ".join(_failures(build / "results.xml")) or str(error)
        raise BenchFailure(f"{name}: {failed}\n{_tail(log)}") from None
    tests = [case for case in ElementTree.parse(results).iter("testcase") if case.find("skipped") is None]
    if not tests:
        raise BenchFailure(f"{name}: {test_module} has no test")
    if re.search(r"^(ERROR|FATAL): ", log.read_text(), re.MULTILINE):  # a failed Assert does not fail the cocotb test
        raise BenchFailure(f"{name}: an assertion in the design failed\n{_tail(log)}")


def _failures(results: Path) -> list[str]:
    if not results.exists():
        return []
    return [f"{case.get('name')} failed" for case in ElementTree.parse(results).iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None]


def _tail(log: Path, lines: int = 60) -> str:
    return "\n".join(log.read_text().splitlines()[-lines:]) if log.exists() else ""
