"""A user's arrays as inputs of a network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.graph import Graph
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


def sequence_length(mask: NDArray[Any], tokens: int) -> int:
    """How many tokens a mask [tokens] or [1, tokens] says are valid, ones before zeros; `UserError` for another one."""
    values = np.asarray(mask)
    if values.shape not in ((tokens,), (1, tokens)):
        raise UserError(f"the mask must have the shape [{tokens}] or [1, {tokens}], not {list(values.shape)}")
    length = int(np.count_nonzero(values))
    if not np.array_equal(values.reshape(-1), np.arange(tokens) < length) or not length:
        raise UserError("the mask must be ones for the first tokens, one at least, and zeros for the others")
    return length
