"""Drives a machine from a computer: registers, memory and programs, over a serial line or anything like it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from systolith.rtl.errors import ErrorCode
from systolith.rtl.frames import REPLY, START, Command, LinkStatus, check_sum
from systolith.rtl.register_map import BY_NAME, COUNTERS_AT, IDENTIFICATION, MEMORY_AT

from .errors import UserError


class LinkError(UserError):
    """The link does not work: no reply, or only damaged ones."""


class BusError(LinkError):
    """Nothing lives at `address`, or it does not allow the access."""

    def __init__(self, address: int) -> None:
        super().__init__(f"nothing at address {address:#x} allows this access")
        self.address = address


class MachineError(UserError):
    """The machine has stopped in a named error state, which `Host.clear` leaves."""

    def __init__(self, code: int, information: int, pc: int) -> None:
        name = ErrorCode(code).name if code in set(ErrorCode) else f"error {code}"
        super().__init__(f"the machine stopped with {name}, information {information:#x}, at program address {pc:#x}")
        self.code, self.information, self.pc = code, information, pc


class Line(Protocol):
    """A stream of bytes both ways: `serial.Serial` (of pyserial, with a `timeout`), a socket file, a simulation."""

    def write(self, data: bytes, /) -> object:
        """Send `data`."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; fewer, or none, when no more came within the line's time limit."""


class Registers(Protocol):
    """32-bit accesses from an address on; what `Host` needs of a link."""

    def read(self, address: int, count: int = 1) -> list[int]:
        """`count` words."""

    def write(self, address: int, words: Sequence[int], repeat: bool = True) -> None:
        """Write `words`. `repeat`: writing them twice does no harm."""


class UartLink:
    """Speaks the frames of `systolith.rtl.frames` with a `UartBridge`.

    A request whose reply is missing or damaged is sent again, up to `attempts` times in all, where that does no harm.

    Parameters
    ----------
    line: the bytes. Its time limit must exceed the bridge's `timeout`. max_words: as the bridge has it.
    """

    def __init__(self, line: Line, max_words: int = 64, attempts: int = 4) -> None:
        self._line = line
        self._max_words = max_words
        self._attempts = attempts
        self._sequence = 0
        self.repeats = 0
        """requests that had to be sent again"""

    def read(self, address: int, count: int = 1) -> list[int]:
        """`count` words from `address` on. Raises LinkError, BusError."""
        words: list[int] = []
        while len(words) < count:
            n = min(self._max_words, count - len(words))
            got = self._request(Command.READ, address + 4 * len(words), n, b"", True)
            if len(got) != n:
                raise LinkError(f"asked for {n} words, got {len(got)}")
            words += got
        return words

    def write(self, address: int, words: Sequence[int], repeat: bool = True) -> None:
        """Write `words` from `address` on. Without `repeat` a lost reply is a LinkError, not a second write."""
        for start in range(0, len(words), self._max_words):
            part = words[start:start + self._max_words]
            text = b"".join(word.to_bytes(4, "little") for word in part)
            self._request(Command.WRITE, address + 4 * start, len(part), text, repeat)

    def errors(self) -> list[str]:
        """Names of the link errors since the last call."""
        bits = self._request(Command.STATUS, 0, 0, b"", True)[0]
        return [*(["STRAY"] if bits & 1 else []), *(s.name for s in LinkStatus if s and bits >> s & 1)]

    def _request(self, command: Command, address: int, count: int, text: bytes, repeat: bool) -> list[int]:
        reason = ""
        for attempt in range(self._attempts):
            self.repeats += attempt > 0
            self._sequence = (self._sequence + 1) % 256
            body = bytes((self._sequence, command, count)) + address.to_bytes(4, "little") + text
            self._line.write(bytes((START,)) + body + check_sum(body))
            reply = self._reply()
            if reply is None:
                reason = "no good reply came"
                if not repeat:
                    break
                continue
            status, words = reply
            if status == LinkStatus.OK:
                return words
            if status == LinkStatus.BUS:
                raise BusError(words[0] if words else address)
            reason = f"the machine got a bad frame ({LinkStatus(status).name})"  # and did nothing: it may come again
        raise LinkError(f"the link failed {attempt + 1} times: {reason}; is it the right port and rate?")

    def _reply(self) -> tuple[int, list[int]] | None:
        """Status and words of the reply to the last request; None where it is missing or damaged."""
        while True:
            first = self._line.read(1)
            if not first:
                return None
            if first[0] != REPLY:
                continue
            head = self._read(3)
            if head is None:
                return None
            rest = self._read(4 * head[2] + 2)
            if rest is None or check_sum(head + rest[:-2]) != rest[-2:] or head[1] not in set(LinkStatus):
                self._drain()
                return None
            if head[0] != self._sequence and head[1] in (LinkStatus.OK, LinkStatus.BUS):
                continue  # a late reply to an earlier request
            words = [int.from_bytes(rest[i:i + 4], "little") for i in range(0, len(rest) - 2, 4)]
            return head[1], words

    def _read(self, size: int) -> bytes | None:
        got = b""
        while len(got) < size:
            more = self._line.read(size - len(got))
            if not more:
                return None
            got += more
        return got

    def _drain(self) -> None:
        while self._line.read(256):
            pass


@dataclass(frozen=True)
class Status:
    """What a machine does; `error` and `information` as `ErrorCode` has them."""

    running: bool
    done: bool
    failed: bool
    clearing: bool
    error: int
    information: int
    pc: int


class Host:
    """A machine behind its registers.

    Raises LinkError where what answers is no Systolith machine.
    """

    def __init__(self, link: Registers) -> None:
        self._link = link
        found = self._get("ID")
        if found != IDENTIFICATION:
            raise LinkError(f"what answers is no Systolith machine: its identification is {found:#010x}")
        version = self._get("VERSION")
        self.version = (version >> 16 & 255, version >> 8 & 255, version & 255)
        self.config_hash = self._get("CONFIG")
        self.memory_bytes = self._get("MEMORY_BYTES")

    def _get(self, name: str) -> int:
        return self._link.read(BY_NAME[name].address)[0]

    def read_memory(self, address: int, size: int) -> bytes:
        """`size` bytes of the unified memory."""
        self._check(address, size)
        start = address & ~3
        count = (address + size - start + 3) // 4
        words = self._link.read(MEMORY_AT + start, count) if size else []
        text = b"".join(word.to_bytes(4, "little") for word in words)
        return text[address - start:address - start + size]

    def write_memory(self, address: int, data: bytes) -> None:
        """Write `data`; other bytes of the words at its ends stay as they are."""
        self._check(address, len(data))
        if not data:
            return
        before, end = address % 4, address + len(data)
        text = self.read_memory(address - before, before) + data + self.read_memory(end, -end % 4)
        self._link.write(MEMORY_AT + address - before,
                         [int.from_bytes(text[i:i + 4], "little") for i in range(0, len(text), 4)])

    def _check(self, address: int, size: int) -> None:
        if address < 0 or address + size > self.memory_bytes:
            raise UserError(f"bytes {address:#x} to {address + size:#x} are not in a memory of "
                            f"{self.memory_bytes} bytes")

    def status(self) -> Status:
        """What it does."""
        first, count = BY_NAME["STATUS"].address, 4
        bits, error, information, pc = self._link.read(first, count)
        running, done, failed, clearing = (bool(bits >> i & 1) for i in range(4))
        return Status(running, done, failed, clearing, error, information, pc)

    def start(self, entry: int) -> None:
        """Run the program at `entry`."""
        self._link.write(BY_NAME["ENTRY"].address, [entry])
        self._link.write(BY_NAME["CONTROL"].address, [1], repeat=False)

    def wait(self, seconds: float = 10.0) -> Status:
        """Wait until the program has ended. Raises MachineError, LinkError after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            status = self.status()
            if status.failed:
                raise MachineError(status.error, status.information, status.pc)
            if not (status.running or status.clearing):
                return status
            if time.monotonic() > end:
                raise LinkError(f"the program still runs after {seconds:g} seconds, at address {status.pc:#x}")

    def run(self, entry: int, seconds: float = 10.0) -> int:
        """Run the program at `entry` to its end; the cycles it took."""
        self.start(entry)
        self.wait(seconds)
        return self.counters()[0]

    def clear(self) -> None:
        """End any run and forget the error; memory stays."""
        self._link.write(BY_NAME["CONTROL"].address, [2])

    def counters(self) -> list[int]:
        """The performance counters, cycles first."""
        return self._link.read(COUNTERS_AT, self._get("COUNTERS"))


def open_serial(port: str, rate: int = 115200, seconds: float = 0.5) -> Host:
    """The machine at a serial port; needs pyserial. Raises LinkError."""
    try:
        import serial
    except ImportError:
        raise LinkError("a serial port needs pyserial: pip install pyserial") from None
    try:
        line = serial.Serial(port, rate, timeout=seconds)
    except (OSError, ValueError) as error:
        raise LinkError(f"cannot open {port}: {error}") from None
    line.reset_input_buffer()
    return Host(UartLink(line))
