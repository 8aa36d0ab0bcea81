"""A machine behind AXI4-Lite: a manager loads a program, runs it and reads what it did."""

from systolith.gen.hardware import write_machine
from systolith.gen.presets import preset
from systolith.rtl import isa
from systolith.rtl.axi_machine import AxiMachine
from systolith.rtl.register_map import BY_NAME, IDENTIFICATION, MEMORY_AT, SEMAPHORES_AT
from tests.streams import simulate

CONFIG = preset("nano").replace(memory_bytes=4096, accumulator_rows=16, multiplier="generic")


def test_a_manager_runs_a_program():
    dut = AxiMachine(CONFIG)

    async def handshake(ctx, valid, ready):
        ctx.set(valid, 1)
        while not ctx.get(ready):
            await ctx.tick()
        await ctx.tick()
        ctx.set(valid, 0)

    async def write(ctx, address, value):
        axi = dut.axi
        ctx.set(axi.awaddr, address)
        ctx.set(axi.wdata, value)
        ctx.set(axi.wstrb, 15)
        await handshake(ctx, axi.awvalid, axi.awready)
        await handshake(ctx, axi.wvalid, axi.wready)
        while not ctx.get(axi.bvalid):
            await ctx.tick()
        assert ctx.get(axi.bresp) == 0
        await handshake(ctx, axi.bready, axi.bvalid)

    async def read(ctx, address):
        axi = dut.axi
        ctx.set(axi.araddr, address)
        await handshake(ctx, axi.arvalid, axi.arready)
        while not ctx.get(axi.rvalid):
            await ctx.tick()
        assert ctx.get(axi.rresp) == 0
        value = ctx.get(axi.rdata)
        await handshake(ctx, axi.rready, axi.rvalid)
        return value

    async def manager(ctx):
        assert await read(ctx, BY_NAME["ID"].address) == IDENTIFICATION
        program = [word for i in (isa.SYNC(signal0=3, signal0_count=7), isa.END()) for word in i.encode()]
        for index, word in enumerate(program):
            await write(ctx, MEMORY_AT + 4 * index, word)
        assert await read(ctx, MEMORY_AT + 4) == program[1]
        await write(ctx, BY_NAME["ENTRY"].address, 0)
        await write(ctx, BY_NAME["CONTROL"].address, 1)
        for _ in range(50):
            if await read(ctx, BY_NAME["STATUS"].address) == 2:  # done
                break
        else:
            raise AssertionError("the program does not end")
        assert await read(ctx, SEMAPHORES_AT + 4 * 3) == 7

    simulate(dut, manager)


def test_verilog(tmp_path):
    paths = write_machine(CONFIG, tmp_path, "axi-lite")
    text = paths[0].read_text()
    for port in ("axi__awaddr", "axi__wstrb", "axi__bresp", "axi__rdata", "interrupt"):
        assert port in text
