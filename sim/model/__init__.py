"""Cycle model: predicts when each instruction of a program runs, without values and without going through cycles."""

from .model import predict
from .timing import Span, Timing

__all__ = ["Span", "Timing", "predict"]
