"""Looking back at the nodes of the file that made a value."""

import numpy as np

from .builder import Builder, Operation


def source(b: Builder, name: str) -> str:
    """The value that this one is, before Cast and Identity."""
    while (op := b.makers.get(name)) and op.kind in ("Cast", "Identity"):
        name = op.inputs[0]
    return name


def made(b: Builder, name: str, *kinds: str) -> Operation | None:
    """The node that makes the value, if it is of one of these kinds."""
    op = b.makers.get(source(b, name))
    return op if op is not None and op.kind in kinds else None


def number_of(b: Builder, name: str) -> float | None:
    """A constant of one number."""
    values = b.constants.get(source(b, name))
    return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None


def with_number(b: Builder, op: Operation) -> tuple[str, float] | None:
    """The operands of a node of a value and a number."""
    for name, other in (op.inputs[:2], op.inputs[1::-1]):
        number = number_of(b, other)
        if number is not None:
            return name, number
    return None


def reduces(b: Builder, op: Operation, axis: int = -1) -> bool:
    """It reduces that axis only, of a value that is known."""
    x = b.values.get(source(b, op.inputs[0]))
    given = b.constants.get(op.input(1)) if op.input(1) else op.attributes.get("axes")
    if x is None or given is None or not x.shape:
        return False
    return [int(each) % len(x.shape) for each in np.asarray(given).reshape(-1)] == [axis % len(x.shape)]


def square_of(b: Builder, name: str) -> str | None:
    """The value whose square this is."""
    op = made(b, name, "Pow", "Mul")
    if op is None:
        return None
    if op.kind == "Pow":
        return op.inputs[0] if number_of(b, op.inputs[1]) == 2 else None
    return op.inputs[0] if source(b, op.inputs[0]) == source(b, op.inputs[1]) else None


def root_of(b: Builder, name: str) -> str | None:
    """The value whose square root this is."""
    op = made(b, name, "Sqrt", "Pow")
    if op is None or (op.kind == "Pow" and number_of(b, op.inputs[1]) != 0.5):
        return None
    return op.inputs[0]
