"""A serial line in Amaranth's simulator: bytes onto a wire and off it, and a line for the host's driver."""

from collections.abc import Callable, Iterable
from typing import Any

from amaranth.sim import Simulator

CYCLE = 1e-6
"""Seconds of a clock cycle, as `simulate` has it. Waiting for times costs less than counting cycles."""


async def until(ctx: Any, condition: Any) -> None:
    """Wait for a cycle in which `condition` is 1; unlike the simulator's own, it may be left unfinished."""
    while True:
        _, _, now = await ctx.tick().sample(condition)
        if now:
            return


async def put_byte(ctx: Any, rx: Any, byte: int, divisor: int, stop: int = 1) -> None:
    """One byte on `rx`; `stop` 0 breaks its stop bit."""
    for bit in (0, *(byte >> i & 1 for i in range(8)), stop):
        ctx.set(rx, bit)
        await ctx.delay(divisor * CYCLE)
    ctx.set(rx, 1)


def listen(tx: Any, divisor: int, got: bytearray) -> Any:
    """A background testbench that puts what comes over `tx` into `got`; every stop bit must be there."""
    async def bench(ctx: Any) -> None:
        while True:
            if ctx.get(tx):
                await ctx.negedge(tx)
            await ctx.delay(divisor * CYCLE / 2)
            byte = 0
            for bit in range(8):
                await ctx.delay(divisor * CYCLE)
                byte |= ctx.get(tx) << bit
            await ctx.delay(divisor * CYCLE)
            assert ctx.get(tx), "no stop bit"
            got.append(byte)
    return bench


class SimulatedLine:
    """The host's end of the serial line of a design that runs in the simulator: it runs while the host reads.

    Parameters
    ----------
    dut: the design. rx, tx: its line. divisor: cycles a bit. background: testbenches of the rest of the design.
    patience: cycles without a byte after which `read` gives up.
    damage: changes the bytes of each write, to try what the other end does with it.
    """

    def __init__(self, dut: Any, rx: Any, tx: Any, divisor: int, background: Iterable[Any] = (), patience: int = 4000,
                 damage: Callable[[bytes], bytes] = bytes, damage_reply: Callable[[int], int] = int) -> None:
        self._simulator = Simulator(dut)
        self._simulator.add_clock(1e-6)
        self._out = bytearray()
        self._in = bytearray()
        self._patience = patience
        self._damage, self._damage_reply = damage, damage_reply
        self.now = 0  # cycles, by bytes sent or not sent

        async def sender(ctx: Any) -> None:
            while True:
                if self._out:
                    await put_byte(ctx, rx, self._out.pop(0), divisor)
                else:
                    await ctx.delay(10 * divisor * CYCLE)
                self.now += 10 * divisor
        for bench in (sender, listen(tx, divisor, self._in), *background):
            self._simulator.add_testbench(bench, background=True)

    def write(self, data: bytes) -> None:
        self._out += self._damage(data)

    def read(self, size: int) -> bytes:
        start = self.now
        have = len(self._in)
        while len(self._in) < size and self.now - start < self._patience:
            self._simulator.advance()
            if len(self._in) != have or self._out:
                start, have = self.now, len(self._in)
        taken = bytes(self._damage_reply(byte) for byte in self._in[:size])
        del self._in[:size]
        return taken
