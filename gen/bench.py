"""Benchmarks: networks by name, measured at batch 1 with seeded inputs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from systolith.gen.compile import Goal, compile_graph
from systolith.gen.emit.artefact import Artefact, load
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model
from systolith.gen.report import Report, run_report
from systolith.gen.run import Session, check_engine, random_inputs
from systolith.gen.zoo import ZOO, from_name
from systolith.gen.zoo.gemm import gemm
from systolith.rtl.bench_top import LATENCY
from systolith.rtl.config import ADDRESS_BITS, Config

__all__ = ["LATENCY", "SUITE", "check_benchmark_engine", "measure", "network", "suite"]

SUITE = ("resnet8", "ds-cnn", "vww", "ad", "resnet50", "mobilenetv2", "yolov5s-640-relu")
"""The networks of a benchmark that names none."""


def network(name: str, config: Config, calibration: dict[str, np.ndarray[Any, Any]] | None = None, *,
            compiled: Config | None = None, goal: Goal | None = None) -> Artefact:
    """The artefact of a zoo network, a file or a matrix product for a machine; `compiled`: the machine that a compiled
    file must be for, any if None."""
    if name.startswith("gemm:"):
        return compile_graph(gemm(name), config, goal)
    if (graph := from_name(name)) is not None:
        return compile_graph(graph, config, goal)
    path = Path(name)
    if path.suffix == ".slp":
        return load(path, compiled)
    if path.suffix in (".onnx", ".tflite"):
        return compile_graph(import_model(path, calibration), config, goal)
    raise UserError(f"there is no network {name!r}; give a zoo network ({', '.join(ZOO)}), an .onnx, .tflite or .slp "
                    f"file, or gemm:MxKxN")


def suite(config: Config, goals: list[Goal]) -> Iterator[Artefact]:
    """The networks of `SUITE`, each for every goal; memory_bytes is doubled until none has to be cut for it."""
    for name in SUITE:
        for goal in goals:
            most = network(name, config.replace(memory_bytes=1 << ADDRESS_BITS), goal=goal)
            machine = config
            while machine.memory_bytes < most.sizes["total"]:
                machine = machine.replace(memory_bytes=2 * machine.memory_bytes)
            yield network(name, machine, goal=goal)


def check_benchmark_engine(engine: str) -> None:
    """`UserError` for an engine that cannot be measured."""
    check_engine(engine)
    if engine == "golden":
        raise UserError("the golden model has nothing to measure; use --engine verilator, icarus or machine, "
                        "or model to predict cycles")


def measure(artefact: Artefact, engine: str, progress: Callable[..., None] | None = None,
            seed: int = 1) -> Report:
    """The report of one inference, compared with the golden model; of the cycle model, which has no values, its
    prediction."""
    check_benchmark_engine(engine)
    if engine == "model":
        from systolith.sim.model.session import measure as prediction
        return run_report(artefact, engine, artefact.config.name, None, prediction(artefact), LATENCY, seed=seed)
    session = Session(artefact, engine, check=True, progress=progress)
    try:
        _, measurement = session.infer(random_inputs(artefact, seed))
    finally:
        session.close()
    return run_report(artefact, engine, artefact.config.name, session.difference is None, measurement, LATENCY,
                      seed=seed)
