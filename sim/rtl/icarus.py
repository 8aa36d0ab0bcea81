"""Whole machines in Icarus Verilog: slow, with four-valued signals, and independent of Verilator: the reference."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from systolith.gen.errors import UserError

from .engine import HOST_PATIENCE, RESET_CYCLES, START_PATIENCE, Design, EngineError, Event, RtlEngine, Run

_BENCH = Path(__file__).with_name("bench.v")
_BLOCK = 1 << 18
"""Words of the largest block that the test bench takes at once."""


class IcarusEngine(RtlEngine):
    """See `RtlEngine`. Undefined bits in an answer or in written external memory are an `EngineError`."""

    name = "icarus"

    def __init__(self, machine: Design, **options: Any) -> None:
        super().__init__(machine, **options)
        iverilog, vvp = shutil.which("iverilog"), shutil.which("vvp")
        if not iverilog or not vvp:
            raise UserError("the Icarus engine needs iverilog and vvp: install the package iverilog, "
                            "or choose another engine")
        self._folder = tempfile.TemporaryDirectory(prefix="systolith-")
        folder = Path(self._folder.name)
        (folder / "design.vh").write_text(_header(machine, len(self.external)))
        (folder / "model.v").write_text(machine.text)
        self.progress(f"compiling {machine.name} with Icarus Verilog")
        command = [iverilog, "-g2005-sv", f"-I{folder}", "-o", "sim", "-s", "bench", str(_BENCH), "model.v"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"Icarus Verilog refuses {machine.name}:\n{(done.stdout + done.stderr)[-1500:]}")
        command = [vvp, "-n", "sim"]
        if self.trace:
            command += [f"-{self.trace.suffix[1:]}", f"+waves={self.trace}"]
        self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._shown = bytearray(len(self.external))
        self._events: list[Event] = []
        self._fill = True
        self.reset()

    def close(self) -> None:
        if self._process.poll() is None:
            self._write("Q 0 0 0\n")
            self._process.communicate()
        self._folder.cleanup()

    def reset(self) -> None:
        self._tell("R", RESET_CYCLES)

    def host_block(self, write: bool, address: int, words: list[int]) -> tuple[list[int], bool]:
        self._load_external()  # the access may start the machine
        answers: list[int] = []
        error = False
        for start in range(0, len(words), _BLOCK):
            part = words[start:start + _BLOCK]
            lines, status = self._tell("B", int(write), address + 4 * start, len(part),
                                       extra=" ".join(f"{word:x}" for word in part))
            if status == 2:
                raise EngineError(f"the machine does not answer the host's access to 0x{address:08x}")
            answers += [self._number(line[2:]) for line in lines if line.startswith("d ")]
            error |= status == 1
        return answers, error

    def run(self, max_cycles: int) -> Run:
        self._load_external()
        begin = time.perf_counter()
        lines, status = self._tell("G", max_cycles, START_PATIENCE)
        seconds = time.perf_counter() - begin
        if status == 1:
            raise EngineError("the machine does not start")
        cycles, counters = next(line[2:].split(maxsplit=1) for line in lines if line.startswith("c "))
        self._dump_external()
        events, self._events = self._events, []
        return Run(self._number(cycles), status == 0, self._counters(counters), events, seconds)

    def interrupt(self) -> bool:
        return bool(self._number(self._tell("I")[0][-1][2:]))

    def _tell(self, command: str, a: int = 0, b: int = 0, c: int = 0, extra: str = "") -> tuple[list[str], int]:
        self._write(f"{command} {a:x} {b:x} {c:x}\n{extra}\n")
        lines: list[str] = []
        for line in self._pipe(self._process.stdout):
            line = line.strip()
            if line.startswith("ok "):
                return lines, self._number(line[3:])
            if line.startswith("e "):
                cycle, unit, tag, *rest = line[2:].split()
                self._events.append(Event(self._number(cycle), self.design.units[self._number(unit)],
                                          self._number(tag), self._counters(*rest)))
            else:
                lines.append(line)
        raise EngineError("Icarus Verilog ended: " + " ".join(lines[-3:]))

    def _write(self, text: str) -> None:
        pipe = self._pipe(self._process.stdin)
        try:
            pipe.write(text)
            pipe.flush()
        except BrokenPipeError:
            raise EngineError("Icarus Verilog has ended") from None

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe

    @staticmethod
    def _number(text: str) -> int:
        try:
            return int(text, 16)
        except ValueError:
            raise EngineError(f"the machine shows undefined bits: {text}") from None

    def _counters(self, text: str = "0") -> tuple[int, ...]:
        bits = self._number(text)
        return tuple(bits >> 32 * i & 0xffff_ffff for i in range(self.design.counters))

    def _load_external(self) -> None:
        """Hand over the beats that have changed since the simulation had them."""
        beat = self.design.beat_bytes
        if not self.external or (self.external == self._shown and not self._fill):
            return
        lines: list[str] = []
        size = 4096 // beat * beat or beat
        for start in range(0, len(self.external), size):
            block = self.external[start:start + size]
            if self._fill or block != self._shown[start:start + size]:
                lines.append(f"@{start // beat:x}")
                lines += [block[i:i + beat][::-1].hex() for i in range(0, len(block), beat)]
        (Path(self._folder.name) / "external.hex").write_text("\n".join(lines) + "\n")
        self._tell("X")
        self._shown[:] = self.external
        self._fill = False

    def _dump_external(self) -> None:
        beat = self.design.beat_bytes
        found = [line.split() for line in self._tell("D")[0] if line.startswith("r ")]
        if not found:
            return
        at = self._number(found[0][1]) * beat
        words = [line.strip() for line in (Path(self._folder.name) / "dump.hex").read_text().splitlines()]
        for word in words:
            if not word or word.startswith("//"):
                continue
            value = self._number(word).to_bytes(beat, "little")
            self.external[at:at + beat] = self._shown[at:at + beat] = value
            at += beat


def _header(machine: Design, external_size: int) -> str:
    """The names and sizes that `bench.v` needs."""
    ports = [f".{unit}_retired(retired[{17 * index} +: 17])" for index, unit in enumerate(machine.units)]
    ports += [f".{port}({port})" for port in ("store_address", "store_write", "store_write_data", "store_read_data",
                                              "interrupt", "cycle") if port in machine.ports]
    if machine.counters:
        ports.append(f".counters(counters[{32 * machine.counters + 31}:32])")
    beat = machine.beat_bytes or 1
    values = {"TOP": machine.name, "BEAT_BYTES": beat, "BEATS": max(external_size // beat, 1),
              "COUNTERS": machine.counters, "UNITS": len(machine.units), "HAS_CYCLE": int("cycle" in machine.ports),
              "BLOCK": _BLOCK, "PATIENCE": HOST_PATIENCE, "PORTS": "".join(", " + port for port in ports)}
    return "\n".join(f"`define {name} {value}" for name, value in values.items()) + "\n"
