"""Benchmarks: networks by name, measured at batch 1 with seeded inputs."""

from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

from systolith.gen.emit.artefact import Artefact
from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.networks import artefact_of
from systolith.gen.report import Report, run_report
from systolith.gen.run import Session, check_engine
from systolith.rtl.bench_top import LATENCY
from systolith.rtl.config import ADDRESS_BITS, Config
from systolith.sim.golden.execute import random_inputs

__all__ = ["LATENCY", "SUITE", "check_benchmark_engine", "measure", "suite"]

SUITE = ("resnet8", "ds-cnn", "vww", "ad", "resnet50", "mobilenetv2", "yolov5s-640-relu")
"""The networks of a benchmark that names none."""


def suite(config: Config, goals: list[Goal], progress: Callable[[str], None] | None = None) -> Iterator[Artefact]:
    """The networks of `SUITE`, each for every goal; memory_bytes is doubled until none has to be cut for it. progress:
    see `compile_graph`."""
    for name in SUITE:
        for goal in goals:
            most = artefact_of(name, config.replace(memory_bytes=1 << ADDRESS_BITS), goal=goal, progress=progress)
            machine = config
            while machine.memory_bytes < most.sizes["total"]:
                machine = machine.replace(memory_bytes=2 * machine.memory_bytes)
            yield artefact_of(name, machine, goal=goal, progress=progress)


def check_benchmark_engine(engine: str) -> None:
    """`UserError` for an engine that cannot be measured."""
    check_engine(engine)
    if engine == "golden":
        raise UserError("the golden model has nothing to measure; use --engine verilator, icarus or machine, "
                        "or model to predict cycles")


def measure(artefact: Artefact, engine: str, progress: Callable[..., None] | None = None,
            seed: int = 1, inputs: dict[str, NDArray[Any]] | None = None, length: int | None = None) -> Report:
    """The report of one inference, compared with the golden model; of the cycle model, which has no values, its
    prediction. inputs: seeded random ones if None. length: see `Session.infer`."""
    check_benchmark_engine(engine)
    if engine == "model":
        from systolith.sim.model.session import measure as prediction
        return run_report(artefact, engine, artefact.config.name, None, prediction(artefact, length or 0), LATENCY,
                          seed=None if inputs else seed, length=length)
    session = Session(artefact, engine, check=True, progress=progress)
    try:
        _, measurement = session.infer(inputs or random_inputs(artefact.graph, seed), length)
    finally:
        session.close()
    return run_report(artefact, engine, artefact.config.name, session.difference is None, measurement, LATENCY,
                      seed=None if inputs else seed, length=length)
