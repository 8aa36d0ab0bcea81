"""Operators that files have in many: recognised by their last node, from which one looks back at the file's nodes.

What lies between is imported too, or is not, as it can be; nobody reads it then, unless something else does.
"""

from collections.abc import Callable

from .attention import masked_softmax, mean_of_valid, not_a_number, rotary
from .builder import Builder, Operation
from .norm_patterns import length, norm

Pattern = Callable[[Builder, Operation], bool]

PATTERNS: dict[str, tuple[Pattern, ...]] = {
    "Add": (rotary,), "Div": (norm, length, mean_of_valid), "Mul": (norm,), "Softmax": (masked_softmax,),
    "Where": (not_a_number,),
}
"""By the kind of the last node."""


def matched(b: Builder, op: Operation) -> bool:
    """Imports the node as the last one of a pattern; False where it is none."""
    return any(pattern(b, op) for pattern in PATTERNS.get(op.kind, ()))
