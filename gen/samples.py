"""A user's arrays as inputs of a network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.float_graph import FloatGraph
from systolith.gen.graph import Graph
from systolith.gen.passes.shorten import tokens_of
from systolith.sim.golden.execute import quantise_inputs


def integer_samples(graph: Graph, arrays: Mapping[str, NDArray[Any]], source: str) -> list[dict[str, NDArray[Any]]]:
    """Integer inputs [height, width, channels], a dict a sample, from arrays with a leading batch axis, which `source`
    has; UserError where they do not fit the network."""
    whole = {}
    for name in graph.inputs:
        if name not in arrays:
            raise UserError(f"{source} has no array {name!r}, the network's input; "
                            f"it has {', '.join(arrays) or 'none'}")
        array = arrays[name]
        layout = graph.input_layouts.get(name)
        if layout is not None and array.shape == tuple(layout[1:] if layout[0] == 1 else layout):
            array = array[None]
        _check_tokens(graph, name, array, source)
        try:
            whole[name] = quantise_inputs(graph, name, array)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
    counts = {name: len(array) for name, array in whole.items()}
    if len(set(counts.values())) != 1:
        raise UserError(f"{source}: inputs must have one number of samples, not "
                        + ", ".join(f"{name} {count}" for name, count in counts.items()))
    count = min(counts.values())
    if not count:
        raise UserError(f"{source} holds no sample; give at least one")
    return [{name: array[i] for name, array in whole.items()} for i in range(count)]


def _check_tokens(graph: Graph, name: str, array: NDArray[Any], source: str) -> None:
    """`UserError` for sequences that are longer or shorter than the network's, where these have masks."""
    layout = graph.input_layouts.get(name, ())
    if not graph.mask or layout[:1] != (1,) or array.ndim != len(layout):
        return
    tokens = tokens_of(graph)
    wrong = [(found, size) for found, size in zip(array.shape[1:], layout[1:], strict=True) if found != size]
    if len(wrong) == 1 and wrong[0][1] == tokens:
        raise UserError(f"{source}: {name!r} has {wrong[0][0]} tokens a sample; {graph.name} was compiled for "
                        f"{tokens}: cut longer sequences, fill up shorter ones, and say in {graph.mask!r} which tokens "
                        "count")


def sequence_lengths(graph: Graph | FloatGraph, arrays: Mapping[str, NDArray[Any]], source: str, count: int,
                     ) -> list[int | None]:
    """How many tokens of each of `count` samples are valid, by the array with the name of the network's mask, which
    `source` must have: one row a sample. None, as many as the network has, where it takes no mask."""
    if not graph.mask:
        return [None] * count
    tokens, name = tokens_of(graph), graph.mask
    if name not in arrays:
        raise UserError(f"{source} has no array {name!r}, the network's mask: ones for the tokens of each sample, then "
                        f"zeros; it has {', '.join(arrays) or 'none'}")
    masks = np.asarray(arrays[name])
    if count == 1 and masks.shape == (tokens,):
        masks = masks[None]
    if masks.shape not in ((count, tokens), (count, 1, tokens)):
        raise UserError(f"{source}: the mask {name!r} must have the shape [{count}, {tokens}], a row a sample, not "
                        f"{list(masks.shape)}")
    return [sequence_length(mask, tokens, f"{source}: the mask {name!r} of sample {number}")
            for number, mask in enumerate(masks)]


def sequence_length(mask: NDArray[Any], tokens: int, name: str = "the mask") -> int:
    """How many tokens a mask [tokens] or [1, tokens] says are valid, ones before zeros; `UserError` for another one,
    which it calls `name`."""
    values = np.asarray(mask)
    if values.shape not in ((tokens,), (1, tokens)):
        raise UserError(f"{name} must have the shape [{tokens}] or [1, {tokens}], not {list(values.shape)}")
    values = values.reshape(-1)
    if values.dtype.kind not in "fiub":
        raise UserError(f"{name} must be numbers, 0 or 1, not {values.dtype}")
    other = np.flatnonzero((values != 0) & (values != 1))
    if len(other):
        raise UserError(f"{name} is {values[other[0]]} at token {other[0]}; it must be 1 for a token that counts and 0 "
                        "for others")
    length = int(np.count_nonzero(values))
    if not length:
        raise UserError(f"{name} is 0 everywhere; it must be 1 for the first tokens, one at least")
    if not values[:length].all():
        hole = int(np.argmin(values))
        raise UserError(f"{name} is 0 at token {hole} and 1 at a later one; it must be ones for the first tokens, then "
                        "zeros: move what is padding behind a sequence")
    return length


def whole_output(graph: Graph, name: str, value: NDArray[Any]) -> NDArray[Any]:
    """An output of a shorter sequence with as many rows as the network's own: those behind it are 0 as real numbers."""
    tensor = graph.tensors[name]
    rest = np.full((tensor.shape[0] - len(value), *value.shape[1:]), tensor.zero_point, value.dtype)
    return np.concatenate([value, rest])
