"""Networks that the project builds by itself, for benchmarks."""

from collections.abc import Callable

from systolith.gen.graph import Graph

from .resnet8 import resnet8

ZOO: dict[str, Callable[[], Graph]] = {"resnet8": resnet8}
"""Builders by name; weights are seeded random numbers."""
