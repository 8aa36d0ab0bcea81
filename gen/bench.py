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
from systolith.gen.run import Session, check_engine, random_inputs
from systolith.gen.zoo import ZOO
from systolith.gen.zoo.gemm import gemm
from systolith.rtl.bench_top import LATENCY
from systolith.rtl.config import Config

__all__ = ["LATENCY", "check_benchmark_engine", "measure", "network"]


def network(name: str, config: Config, calibration: dict[str, np.ndarray[Any, Any]] | None = None, *,
            compiled: Config | None = None) -> Artefact:
    """The artefact of a zoo network, a file or a matrix product for a machine; `compiled`: the machine that a compiled
    file must be for, any if None."""
    if name.startswith("gemm:"):
        return compile_graph(gemm(name), config)
    if name in ZOO:
        return compile_graph(ZOO[name](), config)
    path = Path(name)
    if path.suffix == ".slp":
        return load(path, compiled)
    if path.suffix == ".onnx":
        return compile_graph(import_model(path, calibration), config)
    raise UserError(f"there is no network {name!r}; give a zoo network ({', '.join(ZOO)}), an .onnx or .slp file, "
                    f"or gemm:MxKxN")


def check_benchmark_engine(engine: str) -> None:
    """`UserError` for an engine that cannot be measured."""
    check_engine(engine)
    if engine == "golden":
        raise UserError("the golden model has nothing to measure; use --engine verilator, icarus or machine")


def measure(artefact: Artefact, engine: str, progress: Callable[..., None] | None = None,
            seed: int = 1) -> dict[str, Any]:
    """The benchmark's record of one inference, compared with the golden model."""
    check_benchmark_engine(engine)
    session = Session(artefact, engine, check=True, progress=progress)
    try:
        _, measurement = session.infer(random_inputs(artefact, seed))
    finally:
        session.close()
    record = run_record(artefact, engine, artefact.config.name, session.difference is None, measurement, LATENCY)
    record["seed"] = seed
    return record
