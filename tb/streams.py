"""cocotb ends of the streams of an emitted component: ports `<stream>__payload`, `__valid`, `__ready`.

    source, sink = Source(dut, "i", layout), Sink(dut, "o", layout)   # made first: they drive valid and ready to 0
    await start(dut)
    source.feed(values, stalls(1))   # runs in the background
    got = await sink.take(100, stalls(2))

Values are ints for plain shapes, dicts and lists for layouts. Waits are bounded.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import cocotb
from amaranth import Const, Shape
from amaranth.lib import data
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb.types import Logic

from systolith.rtl.ports import write_layout

PATIENCE = 5000
Stall = Iterator[int]


def stalls(seed: int, often: float = 0.3, long: int = 40) -> Stall:
    """Idle cycles before each transfer: mostly none, `often` a few, now and then up to `long`."""
    rng = random.Random(seed)
    while True:
        if rng.random() >= often:
            yield 0
        else:
            yield rng.randint(1, 3) if rng.random() < 0.85 else rng.randint(4, long)


def pack(shape: Any, value: Any) -> int:
    """`value` as the bits of a port of `shape` (a layout, an Amaranth shape, or None for plain unsigned bits)."""
    if shape is None:
        return int(value)
    if isinstance(shape, data.Layout) or hasattr(shape, "from_bits"):
        return int(Const.cast(shape.const(value)).value) & ((1 << Shape.cast(shape).width) - 1)
    return int(value) & ((1 << Shape.cast(shape).width) - 1)


def unpack(shape: Any, bits: int) -> Any:
    """The inverse of `pack`: dicts, lists and ints."""
    if shape is None:
        return bits
    if isinstance(shape, data.Layout) or hasattr(shape, "from_bits"):
        return _plain(shape.from_bits(bits))
    cast = Shape.cast(shape)
    return bits - (1 << cast.width) if cast.signed and bits >> (cast.width - 1) & 1 else bits


def _plain(value: Any) -> Any:
    if not isinstance(value, data.Const):
        return value
    layout = value.shape()
    if isinstance(layout, data.ArrayLayout):
        return [_plain(value[index]) for index in range(layout.length)]
    return {name: _plain(value[name]) for name, _ in layout}


def read(handle: Any) -> int:
    """A port's bits as an unsigned int; X and Z are failures."""
    try:
        return int(handle.value) if isinstance(handle.value, Logic) else handle.value.to_unsigned()
    except ValueError:
        raise AssertionError(f"{handle._name} has undefined bits: {handle.value}") from None


def _width(handle: Any) -> int:
    return 1 if isinstance(handle.value, Logic) else len(handle)


async def start(dut: Any, cycles: int = 3) -> None:
    """Start the 100 MHz clock and hold reset for `cycles`. Nothing may be fed before it returns."""
    dut.rst.value = 1
    Clock(dut.clk, 10, unit="ns").start()
    for _ in range(cycles):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


async def sample(dut: Any, *handles: Any) -> list[int]:
    """The bits of `handles` just before the next rising edge; what is driven after it holds from that edge on."""
    await RisingEdge(dut.clk)
    return [read(handle) for handle in handles]


class Source:
    """Drives an input stream. `shape`: what the payload is."""

    def __init__(self, dut: Any, name: str, shape: Any = None) -> None:
        self._dut, self._shape, self._name = dut, shape, name
        self._payload = getattr(dut, f"{name}__payload", None)
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready", None)
        self._valid.value = 0
        if self._payload is not None:
            self._payload.value = 0

    def feed(self, values: Iterable[Any], stall: Stall | None = None) -> Any:
        """Send `values` in the background; the returned task can be awaited."""
        return cocotb.start_soon(self.send(values, stall))

    async def send(self, values: Iterable[Any], stall: Stall | None = None, patience: int = PATIENCE) -> None:
        """Send `values`; return when the last has been taken."""
        noise = random.Random(0)
        for number, value in enumerate(values):
            for _ in range(next(stall) if stall else 0):
                if self._payload is not None:
                    self._payload.value = noise.getrandbits(_width(self._payload))
                await RisingEdge(self._dut.clk)
            if self._payload is not None:
                self._payload.value = pack(self._shape, value)
            self._valid.value = 1
            for _ in range(patience):
                await RisingEdge(self._dut.clk)
                if self._ready is None or read(self._ready):
                    break
            else:
                raise AssertionError(f"{self._name}: transfer {number} was refused for {patience} cycles")
            self._valid.value = 0


class Sink:
    """Takes from an output stream, and fails when an offered payload changes or goes."""

    def __init__(self, dut: Any, name: str, shape: Any = None) -> None:
        self._dut, self._shape, self._name = dut, shape, name
        self._payload = getattr(dut, f"{name}__payload", None)
        self._valid = getattr(dut, f"{name}__valid")
        self._ready = getattr(dut, f"{name}__ready", None)
        if self._ready is not None:
            self._ready.value = 0

    async def take(self, count: int, stall: Stall | None = None, patience: int = PATIENCE) -> list[Any]:
        """The next `count` payloads."""
        taken: list[Any] = []
        offered = None
        while len(taken) < count:
            idle = next(stall) if stall else 0
            for cycle in range(idle + patience):
                ready = cycle >= idle
                if self._ready is not None:
                    self._ready.value = int(ready)
                await RisingEdge(self._dut.clk)
                valid = read(self._valid)
                bits = read(self._payload) if valid and self._payload is not None else 0
                if offered is not None:
                    assert valid and bits == offered, f"{self._name}: payload {len(taken)} changed while it waited"
                offered = bits if valid and not ready else None
                if valid and ready:
                    taken.append(unpack(self._shape, bits))
                    break
            else:
                raise AssertionError(f"{self._name}: nothing came for {patience} cycles; {len(taken)} of {count} have")
        if self._ready is not None:
            self._ready.value = 0
        return taken

    async def check(self, expected: Iterable[Any], stall: Stall | None = None, patience: int = PATIENCE) -> None:
        """Take as many payloads as `expected` has and compare them one by one."""
        for number, wanted in enumerate(expected):
            got = (await self.take(1, stall, patience))[0]
            assert got == wanted, f"{self._name}: payload {number} is {got}, expected {wanted}"


async def silent(dut: Any, name: str, cycles: int = 50) -> None:
    """Fail when the stream offers anything during `cycles`."""
    for _ in range(cycles):
        assert not (await sample(dut, getattr(dut, f"{name}__valid")))[0], f"{name}: a surplus payload"


def serve_read(dut: Any, name: str, memory: bytearray, latency: int = 4, stall: Stall | None = None) -> Any:
    """Put `memory` behind the `MemoryReadPort` `name` for ever: answers `latency` cycles after the grant.

    Call it before `start`.
    """
    request, valid = getattr(dut, f"{name}__request__payload"), getattr(dut, f"{name}__request__valid")
    ready = getattr(dut, f"{name}__request__ready")
    response, answered = getattr(dut, f"{name}__response__payload"), getattr(dut, f"{name}__response__valid")
    word_bytes = _width(response) // 8
    ready.value = response.value = answered.value = 0

    async def serve() -> None:
        pipe: deque[int | None] = deque([None] * (latency - 1))
        idle, offered = next(stall) if stall else 0, None
        while True:
            grant = idle <= 0
            ready.value = int(grant)
            await RisingEdge(dut.clk)
            asked = not read(dut.rst) and read(valid)
            address = read(request) if asked else None
            assert offered is None or address == offered, f"{name}: a read request changed while it waited"
            offered = None if grant else address
            if grant and address is not None:
                pipe.append(int.from_bytes((memory[(address + i) % len(memory)] for i in range(word_bytes)), "little"))
                idle = next(stall) if stall else 0
            else:
                pipe.append(None)
                idle -= 1
            word = pipe.popleft()
            answered.value = int(word is not None)
            response.value = word if word is not None else (1 << 8 * word_bytes) - 1
    return cocotb.start_soon(serve())


def serve_write(dut: Any, name: str, memory: bytearray, word_bytes: int, stall: Stall | None = None) -> Any:
    """Put `memory` behind the `MemoryWritePort` `name` for ever. Call it before `start`."""
    request, valid = getattr(dut, f"{name}__request__payload"), getattr(dut, f"{name}__request__valid")
    ready = getattr(dut, f"{name}__request__ready")
    layout = write_layout(word_bytes)
    ready.value = 0

    async def serve() -> None:
        idle, offered = next(stall) if stall else 0, None
        while True:
            grant = idle <= 0
            ready.value = int(grant)
            await RisingEdge(dut.clk)
            asked = not read(dut.rst) and read(valid)
            wanted = unpack(layout, read(request)) if asked else None
            assert offered is None or wanted == offered, f"{name}: a write request changed while it waited"
            offered = None if grant else wanted
            if grant and wanted is not None:
                for i in range(word_bytes):
                    if wanted["mask"] >> i & 1:
                        memory[(wanted["address"] + i) % len(memory)] = wanted["data"] >> 8 * i & 255
                idle = next(stall) if stall else 0
            else:
                idle -= 1
    return cocotb.start_soon(serve())
