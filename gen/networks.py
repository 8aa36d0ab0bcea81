"""Networks by what a user types: a file, a name of the zoo, a matrix product."""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact, load
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model, is_qdq, load_model
from systolith.gen.frontend.samples import Calibration
from systolith.gen.frontend.tflite_file import is_tflite
from systolith.gen.goal import Goal
from systolith.gen.graph import Graph
from systolith.gen.samples import integer_samples, sequence_lengths
from systolith.gen.zoo import ZOO, from_name
from systolith.gen.zoo.gemm import gemm
from systolith.rtl.config import Config
from systolith.sim.golden.execute import quantise_input

KINDS = "a network of `systolith zoo`, an ONNX file (float or QDQ), a .tflite file in int8, or gemm:MxKxN"


def graph_of(name: str, calibration: Calibration | None = None) -> Graph:
    """The graph that a name of the zoo, a file or gemm:MxKxN means. calibration: see `import_model`."""
    own = gemm(name) if name.startswith("gemm:") else from_name(name)
    if own is not None:
        if calibration is not None:
            raise UserError(f"{name} is quantised already; calibration data goes with a float ONNX file, so leave out "
                            "--calibrate")
        return own
    path = Path(name)
    if path.suffix == ".slp":
        raise UserError(f"{name} is compiled already; give the network that it was made from")
    if path.suffix or path.exists():
        return import_model(path, calibration)
    raise UserError(f"there is no network {name!r}; give a zoo network ({', '.join(ZOO)}), an .onnx, .tflite or .slp "
                    f"file, or gemm:MxKxN")


SAMPLES = 16
"""Inputs on which the need of pages is measured, at most."""


def _is_float(name: str) -> bool:
    """Whether the network is quantised here."""
    known = name.startswith("gemm:") or name in ZOO
    return not known and not is_tflite(name) and not is_qdq(load_model(name))


def _some(graph: Graph, calibration: Calibration) -> list[dict[str, NDArray[Any]]]:
    """A few of the calibration's samples as integers, without the last one (`last_sample`) where there are more."""
    if isinstance(calibration, Mapping):
        return integer_samples(graph, {name: array[:min(SAMPLES, max(len(array) - 1, 1))]
                                       for name, array in calibration.items()}, "the calibration data")
    return [{name: quantise_input(graph, name, sample[name]) for name in graph.inputs}
            for sample in islice(calibration, SAMPLES)]


def last_sample(graph: Graph, calibration: Mapping[str, NDArray[Any]],
                ) -> tuple[dict[str, NDArray[Any]], int | None]:
    """An input of a user's own to measure with, and how many tokens it has where the network takes a mask."""
    last, source = {name: array[-1:] for name, array in calibration.items()}, "the calibration data"
    return integer_samples(graph, last, source)[0], sequence_lengths(graph, last, source, 1)[0]


def artefact_of(name: str, config: Config, calibration: Calibration | None = None, *, compiled: Config | None = None,
                goal: Goal | None = None, progress: Callable[[str], None] | None = None) -> Artefact:
    """The same compiled for a machine, or what a compiled file has; `compiled`: the machine that such a file must be
    for, any if None. Where the goal has pages, calibration also says how many; then a network may have it that is
    quantised already. progress: see `compile_graph`."""
    if Path(name).suffix != ".slp":
        if calibration is None or not goal or goal.codec == "off":
            return compile_graph(graph_of(name, calibration), config, goal, progress=progress)
        graph = graph_of(name, calibration if _is_float(name) else None)
        return compile_graph(graph, config, goal, samples=_some(graph, calibration), progress=progress)
    if calibration is not None:
        raise UserError(f"{name} is compiled already; calibration data goes with a float ONNX file, so leave out "
                        "--calibrate")
    return load(Path(name), compiled)
