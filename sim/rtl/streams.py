"""A single component in Verilator: its streams are fed and read there, millions of cycles a call.

For tests that are too long for pysim. The model is compiled once and kept, as whole machines are: see `verilator`.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen import verilog

from .verilator import library

_HARNESS = Path(__file__).with_name("streams.cpp")
_NAME = "streams"

Words = NDArray[np.uint32]


class StreamBench:
    """A component whose ports are streams, after reset.

    Parameters
    ----------
    component: an Amaranth component with streams only; the payloads of a stream are rows of 32-bit words, the lowest
    bits first.

    Members
    -------
    started: the cycle since reset in which the last `run` began.
    """

    def __init__(self, component: Any) -> None:
        ports = {name: len(value) for name, (value, _) in verilog.component_ports(component).items()}
        streams = [name.removesuffix("__valid") for name in ports if name.endswith("__valid")]
        inputs = [name for name in streams if _goes_in(component, name)]
        self._inputs = {name: -(-ports[f"{name}__payload"] // 32) for name in inputs}
        self._outputs = {name: -(-ports[f"{name}__payload"] // 32) for name in streams if name not in inputs}
        header = partial(_header, ports, list(self._inputs), list(self._outputs))
        self._library = _load(library(_NAME, verilog.emit(component, _NAME), _HARNESS, header))
        self._handle: int | None = self._library.bench_new()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self._library.bench_delete(self._handle)
            self._handle = None

    def run(self, words: dict[str, Words], seed: int = 0, stalls: int = 0, patience: int = 5000,
            limit: int = 10 ** 9) -> dict[str, tuple[Words, NDArray[np.uint64]]]:
        """Feed payloads to streams until nothing is handed over for `patience` cycles, at most for `limit`; what each
        output gave, and in which cycle since reset. `stalls`: percent of the time that each stream waits."""
        rows = [np.ascontiguousarray(words.get(name, ()), np.uint32).reshape(-1, width)
                for name, width in self._inputs.items()]
        pointers = (ctypes.c_void_p * len(rows))(*(row.ctypes.data for row in rows))
        counts = (ctypes.c_uint64 * len(rows))(*map(len, rows))
        started = self._library.bench_run(self._handle, pointers, counts, seed, stalls, patience, limit)
        out = {}
        self.started = int(started)
        for number, (name, width) in enumerate(self._outputs.items()):
            count = self._library.bench_count(self._handle, number)
            given, when = np.zeros((count, width), np.uint32), np.zeros(count, np.uint64)
            self._library.bench_take(self._handle, number, given.ctypes.data, when.ctypes.data)
            out[name] = given, when
        return out


def bits(words: Words, start: int, length: int) -> NDArray[np.uint64]:
    """The field of up to 32 bits at bit `start` of each row."""
    wide = np.concatenate([words, np.zeros((len(words), 1), np.uint32)], 1).astype(np.uint64)
    first, shift = divmod(start, 32)
    return (wide[:, first] | wide[:, first + 1] << np.uint64(32)) >> np.uint64(shift) & np.uint64((1 << length) - 1)


def rows(values: list[int], width: int) -> Words:
    """Payloads of `width` bits as rows of words."""
    size = -(-width // 32) * 4
    return np.frombuffer(b"".join(value.to_bytes(size, "little") for value in values), np.uint32).reshape(-1, size // 4)


def _goes_in(component: Any, name: str) -> bool:
    return verilog.component_ports(component)[f"{name}__valid"][1] == verilog.PortDirection.Input


def _header(ports: dict[str, int], inputs: list[str], outputs: list[str],
            member: Callable[[str], str]) -> str:
    """The streams' names and sizes for `streams.cpp`: see `library`."""
    lines = [f"#define INPUTS {len(inputs)}", f"#define OUTPUTS {len(outputs)}", "#define STREAMS \\"]
    for kind, names in (("INPUT", inputs), ("OUTPUT", outputs)):
        lines += [f"{kind}({number}, " + ", ".join(
            member(f"{stream}__{part}") for part in ("payload", "valid", "ready"))
            + f", {ports[f'{stream}__payload']}) \\" for number, stream in enumerate(names)]
    return "\n".join(lines) + "\n\n"


def _load(path: Path) -> Any:
    library = ctypes.CDLL(str(path))
    pointer, number, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64
    for name, result, arguments in (
        ("bench_new", pointer, []),
        ("bench_delete", None, [pointer]),
        ("bench_run", long, [pointer, pointer, ctypes.POINTER(long), long, number, long, long]),
        ("bench_count", long, [pointer, number]),
        ("bench_take", None, [pointer, number, pointer, pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
