"""The way through the pages: what is asked for, and when."""

from typing import Any

import pytest
from amaranth import ResetInserter, Signal

from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.rtl.unpack_pages import UnpackPages
from tests.streams import plain, receive, send, simulate

BASE, OUTSIDE = 0x1200, 0x80004000


def tile(stream: int, reader: int = 0, close: int = 0) -> dict[str, int]:
    return {"stream": stream, "reader": reader, "pages": BASE, "outside": OUTSIDE, "close": close}


async def answer(ctx: Any, dut: UnpackPages, kind: Kind, stream: int, reader: int, page: int = 0) -> None:
    """Expect a request."""
    asked, = await receive(ctx, dut.requests, 1, patience=60)
    assert (asked["kind"], asked["stream"], asked["reader"]) == (kind, stream, reader)
    await send(ctx, dut.responses, [{"page": page, "ok": 1, "end": 0}])


async def parse(ctx: Any, dut: UnpackPages, more: int) -> None:
    """The first piece of a tile has come."""
    ctx.set(dut.parsed, {"valid": 1, "more": more})
    await ctx.tick()
    ctx.set(dut.parsed, {"valid": 0, "more": 0})


async def lines(ctx: Any, dut: UnpackPages, count: int) -> list[tuple[int, int, int, int, int]]:
    """The next lines: address, outside, first piece, pieces, end."""
    got = await receive(ctx, dut.lines, count, patience=60)
    return [tuple(line[name] for name in ("address", "outside", "first", "pieces", "end")) for line in got]


def make(pages: int = 9) -> UnpackPages:
    return UnpackPages(16, 64, pages, 5, 3)


async def quiet(ctx: Any, dut: UnpackPages, cycles: int = 40) -> None:
    for _ in range(cycles):
        await ctx.tick()
        assert not ctx.get(dut.lines.valid) and not ctx.get(dut.requests.valid)


def test_only_what_is_there() -> None:
    """One piece of a tile, then what its entry says, over the page's end; then one piece of the next."""
    dut = make()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.answered, 1)
        await send(ctx, dut.tiles, [tile(3, 2)])
        await answer(ctx, dut, Kind.FOLLOW, 3, 2, 4)
        page = BASE + 4 * 64
        assert await lines(ctx, dut, 1) == [(page, 0, 0, 1, 1)]
        await quiet(ctx, dut)
        await parse(ctx, dut, 8)
        assert await lines(ctx, dut, 4) == [(page, 0, 1, 1, 0), (page + 16, 0, 0, 2, 0), (page + 32, 0, 0, 2, 0),
                                            (page + 48, 0, 0, 2, 1)]
        await answer(ctx, dut, Kind.FOLLOW, 3, 2, 11)
        assert await lines(ctx, dut, 1) == [(OUTSIDE + 2 * 64, 1, 0, 1, 1)]
        await send(ctx, dut.tiles, [tile(3, 2)] * 2)
        assert await lines(ctx, dut, 2) == [(OUTSIDE + 128, 1, 1, 1, 0), (OUTSIDE + 144, 1, 0, 1, 1)]
        await quiet(ctx, dut)

    simulate(dut, bench)


def test_a_page_is_left_when_all_has_come() -> None:
    """And not before something is to be read from the next one; the same with the end of the reader's part."""
    dut = make()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.answered, 1)
        await send(ctx, dut.tiles, [tile(0)])
        await answer(ctx, dut, Kind.FOLLOW, 0, 0)
        await parse(ctx, dut, 7)
        await lines(ctx, dut, 4)
        await quiet(ctx, dut)
        ctx.set(dut.answered, 0)
        await send(ctx, dut.tiles, [tile(0, close=1)])
        await quiet(ctx, dut)
        ctx.set(dut.answered, 1)
        await answer(ctx, dut, Kind.FOLLOW, 0, 0, 1)
        await lines(ctx, dut, 1)
        ctx.set(dut.answered, 0)
        ctx.set(dut.tiles.payload, tile(0))  # another stream of the same number, which must wait
        ctx.set(dut.tiles.valid, 1)
        await quiet(ctx, dut)
        await parse(ctx, dut, 0)
        await quiet(ctx, dut)
        assert not ctx.get(dut.tiles.ready)
        ctx.set(dut.answered, 1)
        await answer(ctx, dut, Kind.DROP, 0, 0)
        await answer(ctx, dut, Kind.FOLLOW, 0, 0, 2)

    simulate(dut, bench)


def test_readers_keep_their_places() -> None:
    """Of each stream; the next one's turn comes when all of the one before is asked for."""
    dut = make()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.answered, 1)
        readers = [(stream, reader) for stream in range(5) for reader in range(3)]
        for turn in range(2):
            for number, (stream, reader) in enumerate(readers):
                await send(ctx, dut.tiles, [tile(stream, reader)])
                if turn == 0:
                    await answer(ctx, dut, Kind.FOLLOW, stream, reader, number)
                address, outside = (BASE + 64 * number, 0) if number < 9 else (OUTSIDE + 64 * (number - 9), 1)
                at = 3 * turn
                assert await lines(ctx, dut, 1) == [(address + at // 2 * 16, outside, at % 2, 1, 1)]
                if number == 5:
                    ctx.set(dut.tiles.payload, tile(4, 1))
                    ctx.set(dut.tiles.valid, 1)
                    await quiet(ctx, dut)
                    ctx.set(dut.tiles.valid, 0)
                await parse(ctx, dut, 2)
                assert sum(line[3] for line in await lines(ctx, dut, 2 - at % 2)) == 2

    simulate(dut, bench)


@pytest.mark.parametrize("late", [False, True])
def test_reset_forgets_all_places(late: bool) -> None:
    rst = Signal()
    dut = make()

    async def bench(ctx: Any) -> None:
        ctx.set(dut.answered, 1)
        for stream in (4, 2):
            await send(ctx, dut.tiles, [tile(stream, 1)])
            await answer(ctx, dut, Kind.FOLLOW, stream, 1, 1)
            await lines(ctx, dut, 1)
            await parse(ctx, dut, 0)
        ctx.set(rst, 1)
        await ctx.tick()
        ctx.set(rst, 0)
        await ctx.tick().repeat(80 if late else 1)
        for stream in (4, 2):
            await send(ctx, dut.tiles, [tile(stream, 1)])
            await answer(ctx, dut, Kind.FOLLOW, stream, 1, 1)
            assert plain((await receive(ctx, dut.lines, 1))[0])["first"] == 0
            await parse(ctx, dut, 0)

    simulate(ResetInserter(rst)(dut), bench)
