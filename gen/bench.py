"""Benchmarks: networks by name, measured at batch 1 with seeded inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact, load
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model
from systolith.gen.report import run_record
from systolith.gen.run import Session, random_inputs
from systolith.gen.zoo import ZOO
from systolith.gen.zoo.gemm import gemm
from systolith.rtl.bench_top import LATENCY
from systolith.rtl.config import Config

__all__ = ["LATENCY", "measure", "network"]


def network(name: str, config: Config, calibration: dict[str, np.ndarray[Any, Any]] | None = None) -> Artefact:
    """The artefact of a zoo network, a file or a matrix product."""
    if name.startswith("gemm:"):
        return compile_graph(gemm(name), config)
    if name in ZOO:
        return compile_graph(ZOO[name](), config)
    path = Path(name)
    if path.suffix == ".slp":
        artefact = load(path)
        if artefact.config != config:
            raise UserError(f"{path} was compiled for {artefact.config.to_json()}, not for {config.to_json()}; "
                            f"compile it again, or give --config")
        return artefact
    if path.suffix == ".onnx":
        return compile_graph(import_model(path, calibration), config)
    raise UserError(f"there is no network {name!r}; give a zoo network ({', '.join(ZOO)}), an .onnx or .slp file, or gemm:MxKxN")


def measure(artefact: Artefact, engine: str, progress: Callable[..., None] | None = None, seed: int = 1) -> dict[str, Any]:
    """The benchmark's record of one inference, compared with the golden model."""
    if engine == "golden":
        raise UserError("the golden model counts no cycles; use --engine verilator, icarus or machine")
    session = Session(artefact, engine, check=True, progress=progress)
    try:
        _, measurement = session.infer(random_inputs(artefact, seed))
    finally:
        session.close()
    record = run_record(artefact, engine, artefact.config.name, session.difference is None, measurement, LATENCY)
    record["seed"] = seed
    return record
