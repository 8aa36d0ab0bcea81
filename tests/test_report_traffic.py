"""Bytes that instructions move, against the instruction set's own words."""

import dataclasses

import pytest

from systolith.gen.report import run_report
from systolith.gen.report.model import Traffic
from systolith.gen.report.traffic import executed, traffic
from systolith.rtl import isa
from tests.report_cases import artefact, case, program
from tests.test_rtl_machine import CONFIG


def test_bytes_add_up() -> None:
    report = case()[0]
    whole = Traffic()
    for layer in report.layers:
        whole += layer.traffic
    assert whole == report.traffic
    assert whole.external_read == whole.constants_external == sum(
        i.blocks * i.block_bytes * times for i, times in program() if i.kind is isa.MOVE_IN)
    assert 0 < whole.weights_memory < whole.memory_read and whole.memory_write > whole.external_read
    assert report.program_bytes == 4 * len(artefact().program)
    assert report.memory["total"] == report.memory_peak_bytes == sum(
        report.memory[name] for name in ("program", "parameters", "weights", "activations"))


@pytest.mark.parametrize("instruction, expected", [
    (isa.MOVE_IN(blocks=3, block_bytes=16), Traffic(48, 0, 0, 48, 48)),
    (isa.MOVE_IN(blocks=3, block_bytes=16, external=1000), Traffic(48, 0, 0, 48, 0)),
    (isa.MOVE_OUT(blocks=5, block_bytes=8), Traffic(0, 40, 40, 0)),
    # 12 tiles of 4 rows of a word; 12 * 35 rows of 4 bytes
    (isa.ARRAY(tiles=2, ky=3, kx=1, kc=2, rows_y=5, rows_x=7), Traffic(memory_read=384 + 1680, weights_memory=384)),
    # parameter sets of 24 + 24 + 8 bytes, one a tile; 6 * (2 * 5 + 3) elements of 2 bytes
    (isa.VECTOR(source=isa.ACCUMULATORS, ny=2, nx=3, tiles=3, elems=5, elems_last=3, wy=1, wx=1, out_type=isa.INT16),
     Traffic(memory_read=168, memory_write=156)),
    # two sets, two operands of 4 bytes in a window of 6; a table
    (isa.VECTOR(source=isa.MEMORY, ny=2, nx=3, tiles=1, elems=5, elems_last=5, wy=3, wx=2, operands=1,
                in_type=isa.INT32, lookup=1), Traffic(memory_read=112 + 30 * 2 * 6 * 4 + 256, memory_write=30)),
    # 8 channels; the window of 4 x 4 outputs is 9 x 6; 2 groups of 6 words and a set
    (isa.DEPTHWISE(tiles=2, elems=5, elems_last=3, ky=3, kx=2, rows_y=4, rows_x=4, y_step=2, x_step=1, y_dilation=1,
                   x_dilation=2), Traffic(memory_read=96 + 112 + 9 * 6 * 8, memory_write=128, weights_memory=96)),
    (isa.NORM(rows=3, elems=10, in_type=1), Traffic(memory_read=60 + 80, memory_write=30)),
    (isa.SOFTMAX(rows=3, elems=10), Traffic(memory_read=30 + 1024, memory_write=30)),
    (isa.SYNC(), Traffic()),
])
def test_bytes_of_an_instruction(instruction: isa.Instruction, expected: Traffic) -> None:
    assert traffic(instruction, CONFIG, 1000) == expected


def test_loops_are_executed() -> None:
    program = [isa.LOOP(count=3), isa.SYNC(), isa.LOOP(count=4), isa.MOVE_OUT(), isa.NEXT(), isa.NEXT(),
               isa.MOVE_IN(), isa.END(), isa.ARRAY()]
    words = [word for instruction in program for word in instruction.encode()]
    assert [(i.kind.name, times) for i, times in executed(words) if i.kind.name not in ("LOOP", "NEXT")] == [
        ("SYNC", 3), ("MOVE_OUT", 12), ("MOVE_IN", 1), ("END", 1)]
    assert Traffic(1, 2, 3, 4, 5, 6) * 3 == Traffic(3, 6, 9, 12, 15, 18)


def test_loops_count_for_their_layers() -> None:
    program = [isa.LOOP(count=3), isa.MOVE_OUT(tag=2, blocks=1, block_bytes=8), isa.NEXT(), isa.END()]
    words = [word for instruction in program for word in instruction.encode()]
    report = run_report(dataclasses.replace(artefact(), program=words), "none", "tiny", None, None, 0)
    assert report.traffic == report.layers[2].traffic == Traffic(external_write=24, memory_read=24)
