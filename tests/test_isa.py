"""The instruction set: every layout encodes, decodes and documents itself."""

import numpy as np
import pytest
from amaranth.lib import data

from systolith.rtl import assembly, isa


@pytest.mark.parametrize("kind", isa.TYPES, ids=lambda kind: kind.name)
def test_round_trip(kind):
    random = np.random.default_rng(kind.opcode)
    for _ in range(50):
        values = {}
        for name, field in kind.fields.items():
            if name not in ("opcode", "length"):
                low = -(1 << field.width - 1) if field.signed else 0
                values[name] = int(random.integers(low, low + (1 << field.width)))
        instruction = kind(**values)
        words = instruction.encode()
        assert len(words) == kind.length and assembly.decode(words) == instruction
        bits = sum(word << 32 * i for i, word in enumerate(words))
        view = data.Const(kind.layout(), bits)
        for name, value in instruction.values.items():
            assert view[name] == value, name


def test_a_value_out_of_range_is_named():
    with pytest.raises(ValueError, match="ARRAY: ky must be from 0 to 255, not 256"):
        isa.ARRAY(ky=256)
    with pytest.raises(ValueError, match="VECTOR has no field 'kernel'"):
        isa.VECTOR(kernel=1)


def test_second_names():
    """They set and get the bits of the first name, are in the document, and do not come beside it."""
    i = isa.ARRAY(b_row=48, b_kc=7, b_tile=9)
    assert (i.b_row, i.b_kc, i.b_tile) == (i.kx_step, i.ring, i.ring_bytes) == (48, 7, 9)
    assert i == isa.ARRAY(kx_step=48, ring=7, ring_bytes=9) == assembly.decode(i.encode())
    assert "`kx_step`, `b_row`" in isa.markdown()
    with pytest.raises(ValueError, match="ARRAY: b_row and kx_step are one field"):
        isa.ARRAY(b_row=1, kx_step=1)
    with pytest.raises(isa.FieldError, match="ring"):
        isa.ARRAY(b_kc=-1)
    with pytest.raises(AttributeError):
        _ = isa.VECTOR().b_kc


@pytest.mark.parametrize("words", [[0], [0xFF], [isa.ARRAY.opcode | 5 << 8], [isa.LOOP.opcode | 2 << 8]])
def test_what_is_no_instruction(words):
    with pytest.raises(assembly.IllegalInstruction):
        assembly.decode(words)


def test_units_of_opcodes():
    for kind in isa.TYPES:
        assert kind.opcode >> 4 == 0 or list(kind.fields)[:3] == ["opcode", "length", "tag"]
        assert kind.length <= 32


def test_the_document_names_every_field():
    text = isa.markdown()
    for kind in isa.TYPES:
        assert f"## {kind.name} " in text
        for name in kind.fields:
            assert f"`{name}`" in text
    assert assembly.disassemble(isa.SYNC(wait0=1, wait0_count=2).encode() + isa.END().encode()) == [
        "000000  SYNC wait0=1 wait0_count=2", "00000c  END"]
