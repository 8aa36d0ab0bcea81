"""Where the numbers of a transformer come from, by the names of its layers."""

import math
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Weights(Protocol):
    """Numbers of a network's layers, float32."""

    def linear(self, name: str, outputs: int, inputs: int, gain: float) -> tuple[Array, Array]:
        """Weights [outputs, inputs] and biases [outputs]; `gain`: how much larger than its inputs random weights make
        the outputs."""

    def norm(self, name: str, channels: int) -> tuple[Array, Array]:
        """Gamma and beta."""

    def table(self, name: str, rows: int, channels: int, size: float) -> Array:
        """A table [rows, channels]; `size`: the standard deviation of random ones."""


@dataclass(frozen=True)
class Seeded:
    """Random numbers of the sizes that training leaves. Each layer's depend on the seed and its name alone."""

    seed: int = 1

    def _random(self, name: str) -> np.random.Generator:
        return np.random.default_rng((self.seed, zlib.crc32(name.encode())))

    def linear(self, name: str, outputs: int, inputs: int, gain: float) -> tuple[Array, Array]:
        random = self._random(name)
        weights = random.standard_normal((outputs, inputs), np.float32)
        weights -= weights.mean(axis=1, keepdims=True)  # what all inputs have in common must not pile up over layers
        weights *= np.float32(gain / math.sqrt(inputs))
        return weights, random.standard_normal(outputs, np.float32) * np.float32(0.05)

    def norm(self, name: str, channels: int) -> tuple[Array, Array]:
        random = self._random(name)
        return (1 + np.float32(0.1) * random.standard_normal(channels, np.float32),
                np.float32(0.1) * random.standard_normal(channels, np.float32))

    def table(self, name: str, rows: int, channels: int, size: float) -> Array:
        values = self._random(name).standard_normal((rows, channels), np.float32)
        values *= np.float32(size)
        return values


class Blank:
    """Zeros that take no memory: for the shapes."""

    def linear(self, name: str, outputs: int, inputs: int, gain: float) -> tuple[Array, Array]:
        return _zeros(outputs, inputs), _zeros(outputs)

    def norm(self, name: str, channels: int) -> tuple[Array, Array]:
        return _zeros(channels), _zeros(channels)

    def table(self, name: str, rows: int, channels: int, size: float) -> Array:
        return _zeros(rows, channels)


def _zeros(*shape: int) -> Array:
    return np.broadcast_to(np.float32(0), shape)
