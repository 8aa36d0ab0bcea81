"""A causal transformer with a cache of keys and values, in floating point: the reference of the machine's own.

Blocks of an RMS norm, attention with rotary positions and a residual sum, then an RMS norm, a gated MLP (SiLU) and a
residual sum; no biases. The classifier is the embedding.
"""

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systolith.gen.errors import UserError

Floats = NDArray[np.float32]
Watch = Callable[[str, Floats], Floats]
"""Sees every tensor of a forward by name, like "blocks.0.query"; the forward goes on with what it returns."""


@dataclass(frozen=True)
class Block:
    """Weights of one block: matrices [outputs, inputs], gains [inputs]."""

    attention_norm: Floats
    query: Floats
    key: Floats
    value: Floats
    output: Floats
    mlp_norm: Floats
    gate: Floats
    up: Floats
    down: Floats


@dataclass(frozen=True)
class LanguageModel:
    """Weights and numbers of a model.

    embedding: [vocabulary, width], of the tokens that come in and of those that are predicted.
    norm: gains before the classifier.
    heads: of attention; each has width / heads values, which rotate in pairs: the first half with the second.
    context: the most tokens that it reads, prompt included.
    """

    embedding: Floats
    blocks: tuple[Block, ...]
    norm: Floats
    heads: int
    context: int
    epsilon: float
    rotary_base: float

    @property
    def vocabulary(self) -> int:
        return len(self.embedding)

    @property
    def width(self) -> int:
        return self.embedding.shape[1]

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """Width of the MLP."""
        return len(self.blocks[0].gate)

    @cached_property
    def rotation(self) -> tuple[Floats, Floats]:
        """Cosines and sines [context, head_width / 2] of the rotary positions."""
        half = self.head_width // 2
        angles = np.outer(np.arange(self.context), self.rotary_base ** (-np.arange(half) / half))
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


class Cache:
    """Keys (rotated) and values of the tokens so far, [layers, heads, context, head_width], and how many they are."""

    def __init__(self, model: LanguageModel) -> None:
        shape = (len(model.blocks), model.heads, model.context, model.head_width)
        self.keys, self.values = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.length = 0


def normalised(x: Floats, gain: Floats, epsilon: float) -> Floats:
    """RMS norm of the last axis."""
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + np.float32(epsilon)) * gain


def rotated(x: Floats, cosines: Floats, sines: Floats) -> Floats:
    """Heads [heads, tokens, head_width] turned by the angles of their positions [tokens, head_width / 2]."""
    a, b = np.split(x, 2, -1)
    return np.concatenate((a * cosines - b * sines, b * cosines + a * sines), -1)


def softmax(x: Floats) -> Floats:
    """Of the last axis; -inf has no share."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def silu(x: Floats) -> Floats:
    """x * sigmoid(x), which is x / 2 * (1 + tanh(x / 2)): nothing in it overflows."""
    half = x / 2
    return half * (1 + np.tanh(half))


def forward(model: LanguageModel, tokens: Sequence[int], cache: Cache, watch: Watch | None = None) -> Floats:
    """Logits [tokens, vocabulary] of the token after each, given those in the cache, which then holds these too.

    One token at a time gives the same as all at once, rounding apart. ValueError where the context is too short.
    """
    end = cache.length + len(tokens)
    if end > model.context:
        raise ValueError(f"the context has {model.context} tokens, not {end}")
    seen = watch or (lambda name, x: x)
    x = seen("embedding", model.embedding[np.asarray(tokens, np.intp)])
    for number, block in enumerate(model.blocks):
        name = f"blocks.{number}"
        y = seen(f"{name}.attention_norm", normalised(x, block.attention_norm, model.epsilon))
        mixed = _attention(model, number, y, cache, seen)
        x = seen(f"{name}.attention_sum", x + seen(f"{name}.output", mixed @ block.output.T))
        y = seen(f"{name}.mlp_norm", normalised(x, block.mlp_norm, model.epsilon))
        gate = seen(f"{name}.silu", silu(seen(f"{name}.gate", y @ block.gate.T)))
        y = seen(f"{name}.product", gate * seen(f"{name}.up", y @ block.up.T))
        x = seen(f"{name}.mlp_sum", x + seen(f"{name}.down", y @ block.down.T))
    cache.length = end
    return seen("logits", seen("norm", normalised(x, model.norm, model.epsilon)) @ model.embedding.T)


def _attention(model: LanguageModel, number: int, y: Floats, cache: Cache, seen: Watch) -> Floats:
    """Mixed values [tokens, width] of all heads; the keys and values of the tokens go into the cache."""
    block, name, start, end = model.blocks[number], f"blocks.{number}", cache.length, cache.length + len(y)
    cosines, sines = (table[start:end] for table in model.rotation)

    def heads(part: str, weights: Floats) -> Floats:
        return seen(f"{name}.{part}", y @ weights.T).reshape(len(y), model.heads, model.head_width).transpose(1, 0, 2)

    query = seen(f"{name}.query_rotated", rotated(heads("query", block.query), cosines, sines))
    cache.keys[number, :, start:end] = seen(f"{name}.key_rotated", rotated(heads("key", block.key), cosines, sines))
    cache.values[number, :, start:end] = heads("value", block.value)
    keys, values = cache.keys[number, :, :end], cache.values[number, :, :end]
    scores = seen(f"{name}.scores", query @ keys.transpose(0, 2, 1) * np.float32(model.head_width ** -0.5))
    later = np.arange(end) > np.arange(start, end)[:, None]
    shares = seen(f"{name}.shares", softmax(np.where(later, np.float32(-np.inf), scores)))
    return seen(f"{name}.mixed", (shares @ values).transpose(1, 0, 2).reshape(len(y), model.width))


def load_model(path: Path) -> LanguageModel:
    """The model that examples/text/train.py has written; UserError names a file that is none."""
    try:
        with np.load(path) as file:
            arrays = dict(file)
        blocks = 0
        while f"blocks.{blocks}.query" in arrays:
            blocks += 1
        return LanguageModel(
            _weights(arrays, "embedding"),
            tuple(Block(*(_weights(arrays, f"blocks.{number}.{field.name}") for field in fields(Block)))
                  for number in range(blocks)),
            _weights(arrays, "norm"), int(arrays["heads"]), int(arrays["context"]), float(arrays["epsilon"]),
            float(arrays["rotary_base"]))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no language model: {error}") from None


def _weights(arrays: dict[str, NDArray[np.generic]], name: str) -> Floats:
    """Gains as they are, int8 matrices times the scales of their rows."""
    values = arrays[name].astype(np.float32)
    return values if values.ndim == 1 else values * arrays[f"{name}.scale"].astype(np.float32)[:, None]
