"""Matrix products of very many outputs are cut: same outputs, the constants of a part at a time."""

import numpy as np

from systolith.gen.compile import compile_graph
from systolith.gen.passes.split_channels import MOST, split_channels
from systolith.gen.presets import preset
from systolith.gen.run import Session
from systolith.gen.zoo.gemm import gemm
from systolith.sim.golden.execute import execute, random_inputs


def test_parts() -> None:
    whole = gemm(f"gemm:3x32x{2 * MOST + 100}")
    parts = split_channels(whole)
    parts.check()
    assert [parts.tensors[node.output].shape[2] for node in parts.nodes] == [MOST, MOST, 100, 2 * MOST + 100]
    inputs = random_inputs(whole)
    assert np.array_equal(execute(whole, inputs)["c"], execute(parts, inputs)["c"])
    small = gemm(f"gemm:3x32x{2 * MOST}")
    assert split_channels(small) is small


def test_compiled() -> None:
    """Every tensor on the instruction model, with less memory for parameters than all outputs need."""
    whole = gemm(f"gemm:1x32x{6 * MOST}")
    artefact = compile_graph(whole, preset("edge"))
    assert artefact.macs == 32 * 6 * MOST and artefact.sizes["parameters"] < 9 * 6 * MOST
    session = Session(artefact, "machine", check=True)
    session.infer(random_inputs(whole))
    assert session.difference is None and session.compared == 6
