"""Products of activations in the whole machine: attention written by hand, and what machines without them say."""

import dataclasses

import numpy as np
import pytest

from systolith.gen.compile import compile_graph
from systolith.gen.zoo.gemm import gemm
from systolith.rtl import isa
from systolith.rtl.errors import MachineStopped
from systolith.sim.golden.vector import pack_parameters, set_bytes
from systolith.sim.machine.machine import Machine, MachineError
from systolith.sim.model import predict
from systolith.sim.rtl.session import RtlSession
from tests.test_rtl_machine import CONFIG as SMALL

CONFIG = SMALL.replace(rows=8, cols=8, vector_lanes=8)
TOKENS, HEADS, WIDTH = 37, 2, 16
PITCH = HEADS * WIDTH
K_PITCH = 40
"""Bytes of a row of K, [HEADS * WIDTH, tokens], and of probabilities: a multiple of the word."""
Q, K, V, P, CONTEXT, PARAMETERS = 0x2000, 0x2C00, 0x4000, 0x5000, 0x8000, 0x1000
Q_ZERO = 11
SCORES, OUTPUT = (1 << 28) + 12345, (1 << 27) - 777
"""Multipliers of the two rescales."""
SHIFT = 36


def _attention(head: int) -> list[isa.Instruction]:
    """Scores of a head, rescaled to int8 with zero point -128, and their product with V."""
    probabilities = P + head * TOKENS * K_PITCH
    base = dict(rows_y=TOKENS, rows_x=1, ky=1, kx=1, height=TOKENS, y_step=1, kc_step=CONFIG.rows, strided=1, centred=1)
    drain = dict(source=isa.ACCUMULATORS, in_type=isa.INT32, wy=1, wx=1, ny=TOKENS, nx=1, low=-128, high=127, elems=8)
    tiles = -(-TOKENS // CONFIG.cols)
    return [
        isa.ARRAY(**base, a=Q + head * WIDTH, row_pitch=PITCH, row_bytes=WIDTH, kc=WIDTH // CONFIG.rows, pad=Q_ZERO,
                  tiles=tiles, b=K + head * WIDTH * K_PITCH, b_row=K_PITCH, b_kc=CONFIG.rows * K_PITCH, b_tile=8,
                  tag=1),
        isa.VECTOR(**drain, c=probabilities, c_row=K_PITCH, c_tile=8, tiles=tiles, params=PARAMETERS, zero_point=-128,
                   elems_last=TOKENS - 8 * (tiles - 1), signal0=4, signal0_count=1, tag=1),
        isa.ARRAY(**base, a=probabilities, row_pitch=K_PITCH, row_bytes=TOKENS, kc=-(-TOKENS // CONFIG.rows), pad=-128,
                  tiles=WIDTH // 8, b=V + head * WIDTH, b_row=PITCH, b_kc=CONFIG.rows * PITCH, b_tile=8, wait0=4,
                  wait0_count=1, tag=2),
        isa.VECTOR(**drain, c=CONTEXT + head * WIDTH, c_row=PITCH, c_tile=8, tiles=WIDTH // 8, elems_last=8,
                   params=PARAMETERS + tiles * set_bytes(8, 8), zero_point=5, tag=2)]


def _artefact(*instructions: isa.Instruction, config=CONFIG):
    """The program, in a memory of noise with parameters."""
    artefact = compile_graph(gemm("gemm:3x4x5"), SMALL)
    words = [word for instruction in (*instructions, isa.END()) for word in instruction.encode()]
    memory = np.random.default_rng(3).integers(0, 256, 0xA000, np.uint8)
    memory[:4 * len(words)] = np.array(words, "<u4").view(np.uint8)
    assert 4 * len(words) <= PARAMETERS
    for number in range(7):
        multiplier = SCORES if number < 5 else OUTPUT
        one = pack_parameters(np.zeros(8, np.int32), np.full(8, multiplier), np.full(8, SHIFT), 8, 8)
        memory[PARAMETERS + number * one.size:][:one.size] = one
    return dataclasses.replace(artefact, config=config, program=words, memory=memory.tobytes(), external=b"")


def _rescale(sums: np.ndarray, multiplier: int, zero_point: int) -> np.ndarray:
    return np.clip((sums * multiplier + (1 << SHIFT - 1) >> SHIFT) + zero_point, -128, 127)


def _context(memory: bytes) -> np.ndarray:
    """What must come out, [tokens, heads * width]."""
    image = np.frombuffer(memory, np.int8)
    q, v = (image[at:][:TOKENS * PITCH].reshape(TOKENS, HEADS, WIDTH).astype(np.int64) for at in (Q, V))
    k = image[K:][:PITCH * K_PITCH].reshape(HEADS, WIDTH, K_PITCH)[:, :, :TOKENS].astype(np.int64)
    scores = _rescale(np.einsum("thd,hds->hts", q - Q_ZERO, k), SCORES, -128)
    assert scores.std() > 20 and (scores > -128).mean() > 0.3
    return _rescale(np.einsum("hts,shd->thd", scores + 128, v), OUTPUT, 5).reshape(TOKENS, PITCH)


def test_attention() -> None:
    """Two heads, 37 tokens: what the tiles have past them plays no part. The model knows how long it takes."""
    heads = [_attention(head) for head in range(HEADS)]
    artefact = _artefact(*(one for pair in zip(*heads, strict=True) for one in pair))
    wanted = _context(artefact.memory)
    model = Machine(CONFIG, artefact.memory)
    model.run()
    size = wanted.size
    np.testing.assert_array_equal(model.memory[CONTEXT:CONTEXT + size].view(np.int8).reshape(wanted.shape), wanted)
    rtl = RtlSession(artefact, "verilator")
    _, measured = rtl.infer({})
    found = rtl.engine.read_memory(0, len(artefact.memory))
    assert found == model.memory[:len(found)].tobytes()
    cycles = predict(CONFIG, artefact.memory).cycles
    assert abs(cycles - measured.cycles) <= 0.03 * measured.cycles, (cycles, measured.cycles)
    counters = measured.nested()["array"]
    assert counters["busy"] == HEADS * TOKENS * (2 * 5 + 5 * 2)
    rtl.close()


SCORE = _attention(0)[0]


@pytest.mark.parametrize("name, changes", [
    ("ADDRESS_OUT_OF_RANGE", {"b": CONFIG.memory_bytes - 8 * K_PITCH}), ("ILLEGAL_OPERAND", {"kx": 2}),
    ("ILLEGAL_OPERAND", {"ky": 2}), ("ILLEGAL_OPERAND", {"b": K + 4}), ("ILLEGAL_OPERAND", {"kx_step": 20}),
    ("ILLEGAL_OPERAND", {"ring": 4}), ("ILLEGAL_OPERAND", {"ring_bytes": 1})])
def test_errors(name: str, changes: dict[str, int]) -> None:
    """In the instruction model as in the hardware; the cycle model refuses operands likewise."""
    artefact = _artefact(isa.ARRAY(**SCORE.values | changes))
    with pytest.raises(MachineError, match=name):
        Machine(CONFIG, artefact.memory).run()
    if name == "ILLEGAL_OPERAND":
        with pytest.raises(MachineError, match=name):
            predict(CONFIG, artefact.memory)
    rtl = RtlSession(artefact, "verilator")
    with pytest.raises(MachineStopped, match=name):
        rtl.infer({})
    rtl.close()


@pytest.mark.parametrize("bit", ["strided", "centred"])
def test_machines_without(bit: str) -> None:
    """What simulators say; the hardware's unit is in test_array_unit.py."""
    config = CONFIG.replace(activation_products=0)
    artefact = _artefact(isa.ARRAY(**SCORE.values | {"strided": 0, "centred": 0, bit: 1}), config=config)
    for run in (Machine(config, artefact.memory).run, lambda: predict(config, artefact.memory)):
        with pytest.raises(MachineError, match="ILLEGAL_OPERAND: ARRAY strided, centred or transposed on"):
            run()
