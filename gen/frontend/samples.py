"""Calibration data as the quantiser takes it: of sequences with a mask only the tokens that it says are there."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.sim.golden.execute import check_numbers, to_core

from ..errors import UserError
from ..float_graph import FloatGraph
from ..passes.shorten import tokens_of
from ..samples import sequence_length, sequence_lengths

Calibration = Mapping[str, NDArray[Any]] | Iterable[Mapping[str, NDArray[Any]]]


def samples(graph: FloatGraph, calibration: Calibration) -> Iterator[dict[str, NDArray[Any]]]:
    """Sample by sample: input name -> float32 [height, width, channels]; of a shorter sequence its rows."""
    if isinstance(calibration, Mapping):
        yield from _split(graph, calibration)
        return
    for sample in calibration:
        end = sequence_length(_given(sample, graph.mask), tokens_of(graph), graph.mask) if graph.mask else None
        yield {name: _core(graph, name, _given(sample, name))[:end] for name in graph.inputs}


def _given(sample: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in sample:
        raise UserError(f"the calibration data has no {name!r}, which is an input of the network; "
                        f"it has {', '.join(sample) or 'nothing'}")
    return np.asarray(sample[name])


def _split(graph: FloatGraph, calibration: Mapping[str, NDArray[Any]]) -> Iterator[dict[str, NDArray[Any]]]:
    arrays = {name: _given(calibration, name) for name in graph.inputs}
    for name, array in arrays.items():
        if array.ndim == 0:
            raise UserError(f"calibration data for {name!r} must be an array [N, ...], not one number")
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"calibration data must have as many samples for each input, not {counts}")
    count = min(counts.values(), default=0)
    for index, end in enumerate(sequence_lengths(graph, calibration, "the calibration data", count)):
        yield {name: _core(graph, name, array[index])[:end] for name, array in arrays.items()}


def _core(graph: FloatGraph, name: str, array: NDArray[Any]) -> NDArray[Any]:
    layout = graph.input_layouts[name]
    if array.shape != layout and not (layout[0] == 1 and array.shape == layout[1:]):
        raise UserError(f"a calibration sample of {name!r} must have the shape {list(layout)}, not {list(array.shape)}")
    if array.dtype.kind not in "fiub":
        raise UserError(f"calibration data for {name!r} must be numbers, not {array.dtype}")
    if name in graph.entries():
        check_numbers(name, array, graph.entries()[name], "a calibration sample of")
    return to_core(array.astype(np.float32).reshape(layout), layout, graph.shapes[name])
