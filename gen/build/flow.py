"""The open tools for ECP5: yosys, nextpnr and ecppack, native or from YoWASP's packages."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from systolith.gen.errors import UserError

Progress = Callable[[str], None]
_TOOLS = {"yosys": "YOSYS", "nextpnr-ecp5": "NEXTPNR_ECP5", "ecppack": "ECPPACK"}


def find_tool(name: str) -> str:
    """The tool that its environment variable names, else the one on PATH, else YoWASP's."""
    here = Path(sys.executable).parent
    for candidate in (os.environ.get(_TOOLS[name]), name, str(here / f"yowasp-{name}"), f"yowasp-{name}"):
        found = shutil.which(candidate) if candidate else None
        if found:
            return found
    raise UserError(f"{name} is missing: run `make fpga`, or set {_TOOLS[name]} to where it is")


def version(tool: str) -> str:
    """The tool's own words about its version."""
    flag = "-V" if "yosys" in Path(tool).name else "--version"
    run = subprocess.run([tool, flag], capture_output=True, text=True)
    return " ".join((run.stdout + run.stderr).split("\n")[0].replace('"', "").split())


def run_tool(arguments: Sequence[str], log: Path, folder: Path) -> None:
    """Run a tool with its output in `log`; an exit code other than 0 is a `UserError` with the log's errors."""
    with log.open("w") as output:
        done = subprocess.run(arguments, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        text = log.read_text(errors="replace").splitlines()
        errors = [line for line in text if "ERROR" in line] or text[-3:]
        raise UserError(f"{Path(arguments[0]).name} ends with {done.returncode} (see {log}): " + "; ".join(errors[:3]))


def run_flow(name: str, device: dict[str, str], folder: Path, seed: int, progress: Progress) -> dict[str, Any]:
    """Bitstream of `folder/<name>.v` with `<name>.lpf`; nextpnr's report as a dict, with the seconds of each step.

    A design that misses its clock is routed all the same: the caller looks at the report.
    """
    yosys, nextpnr, ecppack = (find_tool(tool) for tool in _TOOLS)
    seconds: dict[str, float] = {}

    def step(what: str, *arguments: str) -> None:
        progress(f"{what}: {Path(arguments[0]).name} (log: {folder / (what + '.log')})")
        begin = time.monotonic()
        run_tool(arguments, folder / f"{what}.log", folder)
        seconds[what] = round(time.monotonic() - begin, 1)

    # abc9, which synth_ecp5 would call, ends without a word on designs of this size in the PyPI build; plain abc does
    # not, and its mapping is as fast here.
    step("synthesis", yosys, "-Q", "-p", f"read_verilog {name}.v; synth_ecp5 -top {name} -run begin:map_luts; "
         f"techmap -map +/lattice/latches_map.v; abc -lut 4:7; clean; synth_ecp5 -top {name} -json {name}.json "
         "-run map_cells:")
    step("route", nextpnr, f"--{device['part']}", "--package", device["package"], "--speed", device["speed"],
         "--json", f"{name}.json", "--lpf", f"{name}.lpf", "--textcfg", f"{name}.config", "--report", "report.json",
         "--placer", "static", "--router", "router2", "--seed", str(seed), "--timing-allow-fail")
    step("pack", ecppack, "--compress", f"{name}.config", f"{name}.bit")
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    report["seconds"] = seconds
    report["tools"] = [version(yosys), version(nextpnr)]
    return report


def resources(report: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Used and available: LUTs, flip-flops, DSPs and block RAMs."""
    names = {"luts": "TRELLIS_COMB", "ffs": "TRELLIS_FF", "dsps": "MULT18X18D", "block_rams": "DP16KD"}
    return {key: {side: int(report["utilization"][cell][side]) for side in ("used", "available")}
            for key, cell in names.items()}


def slowest_clock(report: dict[str, Any], net: str) -> float:
    """MHz that the clock whose net's name holds `net` reaches; the slowest of all where none does."""
    reached = {name: float(clock["achieved"]) for name, clock in report["fmax"].items()}
    if not reached:
        raise UserError("the tools report no clock: the design has no registers")
    matching = [value for name, value in reached.items() if re.search(net, name)]
    return min(matching or reached.values())
