"""Import of norms over the last axis."""

import numpy as np

from .builder import Builder, Operation, Unsupported
from .norm_patterns import norm_of
from .operators import operator


@operator("LayerNormalization", unit="norm", notes="over the last axis; also as ReduceMean, Sub, Pow, Sqrt and Div",
          attributes=("axis", "epsilon", "stash_type"), formats="float")
def layer_norm(b: Builder, op: Operation) -> None:
    _norm(b, op, rms=False)


@operator("RMSNormalization", "SimplifiedLayerNormalization", unit="norm",
          notes="over the last axis; also as Pow, ReduceMean, Sqrt and Div or Reciprocal",
          attributes=("axis", "epsilon", "stash_type"), formats="float")
def rms_norm(b: Builder, op: Operation) -> None:
    _norm(b, op, rms=True)


@operator("LpNormalization", unit="norm", notes="p = 2, over the last axis; also as ReduceL2 and Div",
          attributes=("axis", "p"), formats="float")
def length(b: Builder, op: Operation) -> None:
    x = b.value(op.inputs[0])
    if op.attributes.get("p", 2) != 2 or op.attributes.get("axis", -1) % len(x.shape) != len(x.shape) - 1:
        raise Unsupported(f"its p is {op.attributes.get('p', 2)}, its axis {op.attributes.get('axis', -1)}",
                          "use p = 2 and the last axis")
    norm_of(b, op, x, np.full(1, x.shape[-1] ** -0.5), np.zeros(1), 0.0, rms=True)


def _norm(b: Builder, op: Operation, rms: bool) -> None:
    x = b.value(op.inputs[0])
    rank = len(x.shape)
    if any(op.outputs[1:]):
        raise Unsupported("its mean and deviation are used", "use its first output only")
    if not rank or op.attributes.get("axis", -1) % rank != rank - 1:
        raise Unsupported(f"it works from axis {op.attributes.get('axis', -1)} of {rank} on", "norm the last axis")
    gamma = b.constant(op.inputs[1], "scale")
    beta = b.constant(op.inputs[2], "bias") if op.input(2) else np.zeros(1)
    norm_of(b, op, x, gamma, beta, op.attributes.get("epsilon", 1e-5), rms)
