"""Many tiles through the encoder in Verilator, the bytes compared with the model's, which decodes them again.
SYSTOLITH_SLOW=1: 100,000 of them."""

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.hdl import MemoryInstance, Shape
from amaranth.lib import memory

from systolith.gen import verilog
from systolith.rtl.codec.encoder_tile import STEPS
from systolith.rtl.codec.tables import LANES
from systolith.sim.codec import decode_tile
from systolith.sim.codec.encode import encode_tiles
from systolith.sim.rtl import streams
from tests.codec_encoder_bench import EncoderBench, Values
from tests.codec_reference import SHAPES, Cases
from tests.codec_tiles import rectified, smooth

SLOW = "SYSTOLITH_SLOW" in os.environ
KINDS = (*Cases.KINDS, "smooth map", "rectified map", "one long stream", "one value elsewhere")
LARGE = ((16, 8, 32), (8, 16, 32), (14, 7, 32), (16, 16, 16), (7, 7, 80), (32, 16, 8), (25, 5, 32), (1, 16, 256),
         (3, 3, 256), (1, 512, 3), (512, 1, 8), (1, 1, 4096), (2, 2, 1000), (11, 4, 48))

Cased = tuple[Values, int, bytes]


class Poison:
    """A platform whose memories answer with the complement where they are read and written at once: what such a read
    gives is not defined, so nothing may use it."""

    def get_memory(self, given: memory.Memory) -> Any:
        m = Module()
        instance = MemoryInstance(data=given._data, attrs=given.attrs)
        writes = [instance.write_port(domain=port.domain, addr=port.addr, data=port.data, en=port.en)
                  for port in given.write_ports]
        assert len(writes) <= 1
        for number, port in enumerate(given.read_ports):
            found = Signal(Shape.cast(given.shape).width, name=f"found_{number}")
            instance.read_port(domain=port.domain, data=found, addr=port.addr, en=port.en, transparent_for=())
            hit = Signal(name=f"hit_{number}")
            for write in given.write_ports:
                with m.If(port.en):
                    m.d.sync += hit.eq(write.en.any() & (write.addr == port.addr))
            data = getattr(port.data, "as_value", lambda port=port: port.data)()
            m.d.comb += data.eq(found ^ hit.replicate(len(found)))
        m.submodules.instance = instance
        return m


@pytest.fixture(scope="module", params=[8, 4, 2] if SLOW else [8])
def bench(request: pytest.FixtureRequest) -> Iterator[EncoderBench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams.verilog, "emit", functools.partial(verilog.emit, platform=Poison()))
        yield EncoderBench(request.param)


def values(numbers: np.random.Generator, cases: Cases, shape: tuple[int, int, int], centre: int, kind: str) -> Values:
    """A tile of one of `KINDS`."""
    seed = int(numbers.integers(1 << 30))
    if kind == "smooth map":
        return smooth(shape, seed, float(numbers.choice([0.5, 2, 6, 30])), centre)
    if kind == "rectified map":
        return rectified(shape, seed, float(numbers.choice([0.5, 2, 6])))
    if kind == "one long stream":  # the others take the units that they begin with
        tile = np.full(shape, centre, np.uint8)
        tile[..., int(numbers.integers(shape[2]))::LANES] = 255 - centre
        return tile
    if kind == "one value elsewhere":
        tile = np.full(shape, centre, np.uint8)
        tile[tuple(int(numbers.integers(length)) for length in shape)] = int(numbers.integers(256))
        return tile
    return cases.values(shape, centre, kind).astype(np.uint8)


def shapes(numbers: np.random.Generator) -> tuple[int, int, int]:
    """Small ones, those of one row, column, pixel or channel, and now and then one of the largest."""
    pick = numbers.random()
    if pick < 0.03:
        return LARGE[int(numbers.integers(len(LARGE)))]
    if pick < 0.4:
        return SHAPES[int(numbers.integers(len(SHAPES)))]
    small = [int(numbers.integers(1, most)) for most in (7, 7, 30)]
    for axis in range(3):
        if numbers.random() < 0.15:
            small[axis] = 1
    return small[0], small[1], small[2]


def mixed(seed: int, count: int) -> list[Cased]:
    """Tiles of all kinds and shapes in random order, and what the model makes of each."""
    numbers, cases = np.random.default_rng(seed), Cases(seed)
    found: list[Cased] = []
    while len(found) < count:
        shape, centre = shapes(numbers), int(numbers.choice([0, 128, 255, numbers.integers(256)]))
        if shape[0] * shape[1] * -(-shape[2] // LANES) > STEPS:
            continue
        size = min(count - len(found), 40 if np.prod(shape) < 1000 else 4)
        given = np.stack([values(numbers, cases, shape, centre, str(numbers.choice(KINDS))) for _ in range(size)])
        found += [(tile, centre, coded) for tile, coded in zip(given, encode_tiles(given, centre), strict=True)]
    return [found[place] for place in numbers.permutation(len(found))]


def check(bench: EncoderBench, given: list[Cased], seed: int, stalls: int, decode: bool) -> None:
    """The encoder makes the model's bytes, and these are the tiles."""
    got = bench.encode([tile[:2] for tile in given], seed, stalls)
    for number, ((tile, centre, coded), one) in enumerate(zip(given, got, strict=True)):
        assert one.coded == coded, f"tile {number} of {seed}, {tile.shape}, centre {centre}"
        if decode:
            assert np.array_equal(decode_tile(one.coded, tile.shape, centre), tile)  # type: ignore[arg-type]


def test_tiles(bench: EncoderBench) -> None:
    """Bytes and round trips; of each three batches one without stalls, the others with few and many."""
    for number in range(100 if SLOW else 6):
        check(bench, mixed(number, 1000), number, (0, 15, 60)[number % 3], SLOW or number == 0)


def test_long_rows_of_tiles(bench: EncoderBench) -> None:
    """Sequences of one shape, without stalls and with the output behind; the stages stay full."""
    numbers = np.random.default_rng(9)
    cases = Cases(9)
    for number, shape in enumerate(LARGE if SLOW else LARGE[:5]):
        if shape[0] * shape[1] * -(-shape[2] // LANES) > STEPS:
            continue
        given = np.stack([values(numbers, cases, shape, 100, str(numbers.choice(KINDS))) for _ in range(12)])
        batch = [(tile, 100, coded) for tile, coded in zip(given, encode_tiles(given, 100), strict=True)]
        check(bench, batch, number, 0, False)
        check(bench, batch, number, 40, False)


def test_cycles_a_step(bench: EncoderBench) -> None:
    """Of maps that take four to five bits a value; largest tiles, and smaller ones."""
    if bench.lanes != LANES:
        pytest.skip("the other encoders take two or four cycles a step")
    for shape, most in (((16, 8, 32), 1.02), ((16, 16, 16), 1.02), ((8, 8, 64), 1.03), ((14, 7, 32), 1.03),
                        ((7, 7, 80), 1.04), ((8, 8, 32), 1.04), ((7, 7, 32), 1.05)):
        got = bench.encode([(smooth(shape, seed, 2), 100) for seed in range(40)])
        steps = shape[0] * shape[1] * -(-shape[2] // LANES)
        assert (got[-1].cycle - got[9].cycle) / 30 / steps < most, shape
