"""Networks by what a user types: a file, a name of the zoo, a matrix product."""

from pathlib import Path

from systolith.gen.compile import Goal, compile_graph
from systolith.gen.emit.artefact import Artefact, load
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model
from systolith.gen.frontend.samples import Calibration
from systolith.gen.graph import Graph
from systolith.gen.zoo import ZOO, from_name
from systolith.gen.zoo.gemm import gemm
from systolith.rtl.config import Config

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


def artefact_of(name: str, config: Config, calibration: Calibration | None = None, *, compiled: Config | None = None,
                goal: Goal | None = None) -> Artefact:
    """The same compiled for a machine, or what a compiled file has; `compiled`: the machine that such a file must be
    for, any if None."""
    if Path(name).suffix != ".slp":
        return compile_graph(graph_of(name, calibration), config, goal)
    if calibration is not None:
        raise UserError(f"{name} is compiled already; calibration data goes with a float ONNX file, so leave out "
                        "--calibrate")
    return load(Path(name), compiled)
