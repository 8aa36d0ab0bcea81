"""Instructions clipped to a length: the rule in numbers, and the part before the units."""

import random
from typing import Any

import pytest

from systolith.gen.presets import preset
from systolith.rtl import isa
from systolith.rtl.clip import RULES, Clip, check_length, clip_cycles, clipped
from systolith.rtl.isa import Instruction, InstructionType
from tests.streams import plain, receive, send, simulate, stalls

SOFTMAX = {"rows": 60, "group": 3, "elems": 40}


@pytest.mark.parametrize("kind, fields, length, changed", [
    (isa.ARRAY, {"rows_y": 20, "first": 5, "clip": 1}, 12, {"rows_y": 7}),
    (isa.ARRAY, {"rows_y": 20, "rows_x": 7, "height": 20, "clip": 1}, 12, {"rows_y": 12}),
    (isa.ARRAY, {"rows_y": 20, "first": 5, "clip": 1}, 25, {}),
    (isa.ARRAY, {"rows_y": 20, "first": 5, "clip": 1}, 24, {"rows_y": 19}),
    (isa.ARRAY, {"rows_y": 20, "first": 12, "clip": 1}, 12, {"rows_y": 1}),
    (isa.ARRAY, {"rows_y": 20, "first": 4095, "clip": 1}, 1, {"rows_y": 1}),
    (isa.ARRAY, {"rows_y": 20, "first": 5}, 12, {}), (isa.ARRAY, {"rows_y": 20, "first": 5, "clip": 1}, 0, {}),
    (isa.ARRAY, {"clip": 1}, 5, {}),  # stays illegal
    (isa.VECTOR, {"ny": 20, "height": 30, "first": 5, "clip": 1}, 12, {"ny": 7}),
    (isa.VECTOR, {"ny": 20, "height": 30, "first": 5, "clip": 2}, 12, {"height": 12}),
    (isa.VECTOR, {"ny": 20, "height": 30, "first": 5, "clip": 3}, 12, {"ny": 7, "height": 12}),
    (isa.VECTOR, {"ny": 2, "height": 3, "first": 5, "clip": 3}, 12, {}),
    (isa.VECTOR, {"ny": 2, "height": 0, "clip": 2}, 12, {}),
    (isa.SOFTMAX, SOFTMAX | {"first": 2, "clip": 1}, 12, {"rows": 30}),
    (isa.SOFTMAX, SOFTMAX | {"first": 2, "clip": 1, "group": 0}, 12, {"rows": 10}),
    (isa.SOFTMAX, SOFTMAX | {"first": 2, "clip": 2}, 12, {"valid_limit": 12}),
    (isa.SOFTMAX, SOFTMAX | {"clip": 3, "valid_limit": 11}, 12, {"rows": 36}),
    (isa.SOFTMAX, SOFTMAX | {"clip": 2, "valid_limit": 13}, 12, {"valid_limit": 12}),
    (isa.SOFTMAX, {"rows": 65535, "group": 65535, "first": 1, "clip": 3}, 65535, {"valid_limit": 65535}),
    (isa.SOFTMAX, {"rows": 65535, "group": 256, "clip": 1}, 256, {}),  # a product of 2**16
    (isa.NORM, {"rows": 50, "first": 5, "clip": 1}, 12, {"rows": 7}),
    (isa.MOVE_IN, {"blocks": 9}, 3, {}),
])
def test_rule(kind: InstructionType, fields: dict[str, int], length: int, changed: dict[str, int]) -> None:
    values = kind(**fields).values
    assert clipped(kind, values, length) == values | changed
    assert kind not in RULES or clip_cycles(kind) == (3 if kind is isa.SOFTMAX else 2)


def _random(kind: InstructionType, rng: random.Random, length: int) -> Instruction:
    """Any bits, and what is clipped near the length."""
    values = {name: rng.getrandbits(field.width) - (field.signed << field.width - 1)
              for name, field in kind.fields.items()}
    near = [0, 1, 2, *(max(0, length + k) for k in (-1, 0, 1)), rng.randrange(1 << 16)]
    values |= {rule.field: min(rng.choice(near), 65535) for rule in RULES[kind]}
    values["first"] = min(rng.choice(near), 4095)
    if "group" in values:
        values["group"] = rng.choice((0, 1, 2, 7, values["group"]))
        if rng.random() < 0.5:
            values["rows"] = min(65535, max(1, abs(length - values["first"]) * (values["group"] or 1)
                                            + rng.randint(-1, 1)))
    return Instruction(kind, values)


@pytest.mark.parametrize("often", [0.0, 0.4])
@pytest.mark.parametrize("length", [0, 1, 2, 37, 4096, 65535])
@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.name)
def test_hardware(kind: InstructionType, length: int, often: float) -> None:
    rng = random.Random(length)
    given = [_random(kind, rng, length) for _ in range(60)]
    dut = Clip(kind)

    def payload(i: Instruction) -> Any:
        return kind.layout().from_bits(sum(word << 32 * k for k, word in enumerate(i.encode())))

    async def out(ctx: Any) -> None:
        got = await receive(ctx, dut.o, len(given), stalls(2, often))
        for instruction, found in zip(given, got, strict=True):
            wanted = plain(payload(Instruction(kind, clipped(kind, instruction.values, length))))
            assert found == wanted, instruction

    async def give(ctx: Any) -> None:
        ctx.set(dut.length, length)
        await ctx.tick()
        await send(ctx, dut.i, [payload(i) for i in given], stalls(1, often))

    simulate(dut, give, out)


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.name)
def test_cycles(kind: InstructionType) -> None:
    """What is not clipped costs nothing; what is stays on the input until it is ready, and then for as long as it
    takes."""
    dut = Clip(kind)
    late = clip_cycles(kind)

    async def bench(ctx: Any) -> None:
        ctx.set(dut.i.valid, 1)
        for length, clip, wanted in ((0, 1, 0), (9, 0, 0), (9, 1, late), (9, 1, late), (9, 0, 0), (0, 1, 0)):
            ctx.set(dut.i.valid, 0)
            ctx.set(dut.length, length)
            await ctx.tick()
            ctx.set(dut.i.payload.clip, clip)
            ctx.set(dut.i.valid, 1)
            for cycle in range(8):
                ctx.set(dut.o.ready, cycle == 7)
                assert ctx.get(dut.o.valid) == (cycle >= wanted), (length, clip, cycle)
                assert ctx.get(dut.i.ready) == (cycle == 7)
                await ctx.tick()

    simulate(dut, bench)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="no rule by which MOVE_IN could be clipped"):
        Clip(isa.MOVE_IN)
    for length in (-1, 65536):
        with pytest.raises(ValueError, match=f"from 0 to 65535, not {length}"):
            check_length(preset("edge"), length)
    for name, has in (("nano", False), ("micro", False), ("edge", True), ("large", True)):
        assert preset(name).clips == has
    with pytest.raises(ValueError, match="has no length"):
        check_length(preset("micro"), 3)
    assert check_length(preset("micro"), 0) == 0
    assert preset("edge").replace(softmax_lanes=0).clips and preset("edge").replace(norm_lanes=0).clips
