"""A program for sequences of 20 tokens, run on shorter ones: Verilog against instruction model and cycle model."""

import dataclasses
import os
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.rtl import isa
from systolith.rtl.clip import RULES, clip_cycles, clipped
from systolith.rtl.register_map import BY_NAME
from systolith.sim.golden.operators import softmax
from systolith.sim.machine.machine import Machine
from systolith.sim.model.session import timing_of
from systolith.sim.rtl.session import RtlSession
from tests.norm_cases import make_parameters
from tests.softmax_cases import exponential
from tests.test_rtl_machine import CONFIG, program

TOKENS, CHANNELS, HEADS = 20, 64, 2
LENGTHS = (0, 1, 7, 12, 13, 20, 1000)
X, WEIGHTS, PARAMS, ONE, NORM, TABLE, INPUTS = 0x800, 0xD00, 0x1D00, 0x1EC0, 0x1F00, 0x2100, 0x2500
SCORES, PROBABILITIES, CAUSAL, SUMS, NORMED, PIXELS, NEAR = 0x2800, 0x2C00, 0x3000, 0x3400, 0x3600, 0x3C00, 0x4000
MEMORY = 0x6000


def _scores(first: int, rows: int) -> list[isa.Instruction]:
    """The product of some tokens with all of the keys of both heads: ARRAY and VECTOR, marked alike."""
    block = {"tiles": 8, "first": first, "clip": 1}
    return [
        isa.ARRAY(a=X, b=WEIGHTS, rows_y=rows, rows_x=1, ky=1, kx=1, kc=CHANNELS // 4, y_start=first, height=TOKENS,
                  y_step=1, row_bytes=CHANNELS, row_pitch=CHANNELS, kc_step=4, **block),
        isa.VECTOR(c=SCORES + 40 * first, params=PARAMS, source=isa.ACCUMULATORS, wy=1, wx=1, elems=5, elems_last=5,
                   ny=rows, nx=1, c_tile=5, c_row=40, low=-128, high=127, signal0=4, signal0_count=1, **block)]


def _softmax(c: int, first: int, rows: int, **fields: int) -> isa.Instruction:
    """Of the scores of some tokens, row by row of [tokens, heads]."""
    return isa.SOFTMAX(a=SCORES + 40 * first, a_row=20, b=TABLE, c=c + 40 * first, c_row=20, rows=HEADS * rows,
                       elems=TOKENS, group=HEADS, first=first, clip=3, **fields)


TOKENWISE = {"source": isa.MEMORY, "tiles": 1, "params": ONE, "wx": 1, "nx": 1, "height": TOKENS, "width": 1,
             "y_step": 1, "x_step": 1, "wy_step": 1, "elems": CHANNELS, "elems_last": CHANNELS}
INSTRUCTIONS = [
    isa.NORM(a=X, a_row=CHANNELS, b=NORM, c=NORMED, c_row=CHANNELS, rows=TOKENS, elems=CHANNELS, low=-128, high=127,
             epsilon=1000, clip=1, signal0=6, signal0_count=1),
    isa.SYNC(wait0=6, wait0_count=1),  # one unit after the other: the cycle model leaves out some conflicts in memory
    *_scores(0, 12), *_scores(12, 8),
    _softmax(PROBABILITIES, 0, TOKENS, wait0=4, wait0_count=2),
    _softmax(CAUSAL, 0, 12, valid=1, valid_step=1),
    _softmax(CAUSAL, 12, 8, valid=13, valid_step=1, signal0=5, signal0_count=1),
    # the sum over all tokens, and over each token's neighbours
    isa.VECTOR(**TOKENWISE, a=NORMED, a_row=CHANNELS, c=SUMS, wy=TOKENS, ny=1, out_type=isa.INT32, low=-(1 << 31),
               high=(1 << 31) - 1, clip=2, wait0=5, wait0_count=1),
    isa.VECTOR(**TOKENWISE, a=NORMED, a_row=CHANNELS, c=NEAR, c_row=4 * CHANNELS, wy=3, ny=TOKENS, y_start=-1,
               out_type=isa.INT32, low=-(1 << 31), high=(1 << 31) - 1, clip=3),
    # two columns, the left parts of both halves of a row
    isa.ARRAY(a=X, b=WEIGHTS, rows_y=TOKENS, rows_x=2, ky=1, kx=1, kc=3, tiles=1, height=TOKENS, y_step=1,
              row_bytes=CHANNELS, row_pitch=CHANNELS, x_step=CHANNELS // 2, kc_step=4, clip=1),
    isa.VECTOR(c=PIXELS, params=PARAMS, source=isa.ACCUMULATORS, tiles=1, wy=1, wx=1, elems=5, elems_last=5, ny=TOKENS,
               nx=2, c_row=10, c_pixel=5, low=-128, high=127, clip=1),
    isa.END(),
]


def _artefact(instructions: list[isa.Instruction] = INSTRUCTIONS):
    """A program and what it works on."""
    numbers = np.random.default_rng(3)
    artefact = program(*instructions)
    memory = numbers.integers(0, 256, MEMORY, np.uint8)
    memory[:len(artefact.memory)] = np.frombuffer(artefact.memory, np.uint8)
    assert len(artefact.memory) < X
    for at in range(PARAMS, PARAMS + 8 * 56, 56):
        for plane, values in ((0, numbers.integers(-900, 900, 5)), (24, numbers.integers(1 << 29, 1 << 30, 5))):
            memory[at + plane:at + plane + 20] = values.astype("<i4").view(np.uint8)
        memory[at + 48:at + 53] = 39
    memory[ONE:ONE + 56] = 0
    memory[ONE + 24] = 1  # a multiplier of 1, no bias, no shift
    memory[TABLE:TABLE + 1024] = exponential(0.03).astype("<i4").view(np.uint8)
    encoded = np.frombuffer(make_parameters("usual", CHANNELS, numbers).encode(), np.uint8)
    memory[NORM:NORM + encoded.size] = encoded
    return dataclasses.replace(artefact, memory=memory.tobytes())


@cache
def _model(length: int) -> NDArray[np.uint8]:
    machine = Machine(CONFIG, _artefact().memory)
    machine.run(length=length)
    return machine.memory[:MEMORY]


def _tensor(length: int, at: int, *shape: int, dtype: str = "i1") -> NDArray[np.int64]:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return _model(length)[at:at + size].view(dtype).reshape(shape).astype(np.int64)


@pytest.mark.parametrize("length", LENGTHS)
def test_values(length: int) -> None:
    """Tokens before the length are as numpy says; of those past it, each block makes one."""
    tokens = min(length or TOKENS, TOKENS)
    before = np.frombuffer(_artefact().memory, np.uint8).view(np.int8)
    table = exponential(0.03)
    for at, shape, dtype in ((SCORES, (40,), "i1"), (NORMED, (CHANNELS,), "i1"), (PIXELS, (2, 5), "i1")):
        found, full = (_tensor(n, at, TOKENS, *shape, dtype=dtype) for n in (length, 0))
        np.testing.assert_array_equal(found[:tokens], full[:tokens])
        made = set(range(tokens)) | ({12} if at == SCORES else set())
        for token in set(range(TOKENS)) - made:
            np.testing.assert_array_equal(found[token].ravel(), before[at + token * found[0].size:][:found[0].size])
    scores = _tensor(length, SCORES, TOKENS, HEADS, TOKENS)
    for at, causal in ((PROBABILITIES, False), (CAUSAL, True)):
        found = _tensor(length, at, TOKENS, HEADS, TOKENS)
        for token in range(tokens):
            valid = token + 1 if causal else tokens
            np.testing.assert_array_equal(found[token, :, :valid], softmax(scores[token, :, :valid], table))
            assert (found[token, :, valid:] == -128).all()
    normed = _tensor(length, NORMED, TOKENS, CHANNELS)[:tokens]
    np.testing.assert_array_equal(_tensor(length, SUMS, CHANNELS, dtype="<i4"), normed.sum(0))
    near = _tensor(length, NEAR, TOKENS, CHANNELS, dtype="<i4")
    for token in range(tokens):
        np.testing.assert_array_equal(near[token], normed[max(0, token - 1):token + 2].sum(0))


def test_verilog() -> None:
    """Every byte as the instruction model leaves it, cycles as the cycle model says; shorter is faster. A length is for
    one run only."""
    rtl = RtlSession(_artefact(), "verilator")
    cycles = {}
    for length in (*LENGTHS, 0):
        rtl.load(_artefact())
        _, measured = rtl.infer({}, length)
        assert rtl.engine.read_memory(0, MEMORY) == _model(length).tobytes(), length
        predicted = timing_of(_artefact(), length).cycles
        # With one row a tile, fetching the program holds up the weights: the model leaves that out.
        assert abs(predicted - measured.cycles) <= (0.05 if length == 1 else 0.03) * measured.cycles, length
        assert cycles.setdefault(length, measured.cycles) == measured.cycles
    assert cycles[1] < cycles[7] < cycles[12] < cycles[13] < cycles[20] == cycles[1000]
    assert cycles[1] < cycles[0] / 2
    assert rtl.engine.host_read(BY_NAME["LENGTH"].address) == 0
    rtl.close()


@pytest.mark.skipif("SYSTOLITH_SLOW" not in os.environ, reason="takes minutes: set SYSTOLITH_SLOW=1")
def test_icarus() -> None:
    """The same bytes and cycles there; little of the memory, for it is slow."""
    short = _artefact()
    short.memory = short.memory[:INPUTS]
    machine = Machine(CONFIG, short.memory)
    machine.run(length=7)
    seen = []
    for engine in ("verilator", "icarus"):
        rtl = RtlSession(short, engine)
        _, measured = rtl.infer({}, 7)
        assert rtl.engine.read_memory(SCORES, SUMS + 0x100 - SCORES) == machine.memory[SCORES:SUMS + 0x100].tobytes()
        rtl.close()
        seen.append((measured.cycles, measured.counters, measured.events))
    assert seen[0] == seen[1]


def test_marks_cost_next_to_nothing() -> None:
    """A program that is clipped takes as long as one that was written for that length, and up to three cycles for each
    instruction; the cycle model says so, too."""
    rtl = RtlSession(_artefact(), "verilator")
    for length in (1, 13, 20):
        measured, predicted = [], []
        written = [isa.Instruction(i.kind, clipped(i.kind, i.values, length)) for i in INSTRUCTIONS]
        for artefact, of in ((_artefact(), length), (_artefact(written), 0)):
            rtl.load(artefact)
            measured.append(rtl.infer({}, of)[1].cycles)
            predicted.append(timing_of(artefact, of).cycles)
        most = sum(clip_cycles(i.kind) for i in INSTRUCTIONS if i.kind in RULES)
        for marked, by_hand in (measured, predicted):
            assert 0 < marked - by_hand <= most
        off = abs((measured[0] - measured[1]) - (predicted[0] - predicted[1]))
        assert off <= 0.005 * measured[0], (length, measured, predicted)
    rtl.close()


def test_refusals() -> None:
    rtl = RtlSession(_artefact(), "verilator")
    for run in (lambda: rtl.infer({}, 65536), lambda: timing_of(_artefact(), 65536),
                lambda: Machine(CONFIG, _artefact().memory).run(length=65536)):
        with pytest.raises(ValueError, match="a length must be from 0 to 65535, not 65536"):
            run()
    rtl.close()
    without = Machine(CONFIG.replace(softmax_lanes=0, norm_lanes=0), program(isa.END()).memory)
    with pytest.raises(ValueError, match="has no length"):
        without.run(length=1)
