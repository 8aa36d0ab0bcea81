"""Transformers on the instruction model, every tensor compared with the golden model: in ample memory and in little,
whole and shorter sequences, with noise wherever nothing is said to lie."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact
from systolith.gen.errors import UserError
from systolith.gen.goal import Goal
from systolith.gen.graph import Graph, MatMul
from systolith.gen.passes import run_passes
from systolith.gen.passes.shorten import tokens_of
from systolith.gen.presets import preset
from systolith.gen.quantize import quantise
from systolith.gen.run import Session
from systolith.rtl.config import Config
from systolith.sim.golden.execute import execute, random_inputs
from tests.transformer_networks import MODELS, bert, llama, model, samples

Array = NDArray[Any]
EDGE = preset("edge")
LITTLE = {"masked bert": 18432, "llama": 16384, "words": 14336}
"""Bytes of memory in which what rests between parts of the network must be in pages outside."""


def noisy(artefact: Artefact, engine: str = "machine") -> Session:
    """A session on a machine whose memories hold noise wherever the artefact says nothing."""
    session, random = Session(artefact, engine, check=True), np.random.default_rng(7)
    machine = session._machine
    assert machine is not None
    for memory, used in ((machine.memory, len(artefact.memory)), (machine.external, len(artefact.external))):
        memory[used:] = random.integers(0, 256, len(memory) - used, np.uint8)
    return session


def check(graph: Graph, artefact: Artefact, lengths: tuple[int | None, ...] = (None,)) -> None:
    """Inferences on one machine, one after the other."""
    session = noisy(artefact)
    for number, length in enumerate(lengths):
        session.infer(random_inputs(graph, number + 1), length)
        assert session.difference is None, (length, str(session.difference))
    assert session.compared >= len(lengths) * (len(artefact.graph.nodes) * 2 // 3)


def lengths(graph: Graph) -> tuple[int | None, ...]:
    """None, one, some, all but one, all."""
    if not graph.mask:
        return (None,)
    tokens = tokens_of(graph)
    return (None, 1, tokens // 3, 16, 17, tokens - 1, tokens, 2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("config", [
    EDGE, EDGE.replace(banks=4, accumulator_rows=64, queue_words=64), EDGE.replace(codec_lanes=0)],
    ids=["edge", "small", "plain"])
def test_ample_memory(name: str, config: Config) -> None:
    graph = model(name)
    check(graph, compile_graph(graph, config), lengths(graph))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("goal", ["memory", "balanced"])
def test_goals(name: str, goal: str) -> None:
    graph = model(name)
    artefact = compile_graph(graph, EDGE, Goal(goal))
    if goal == "memory":
        assert artefact.sizes["total"] < compile_graph(graph, EDGE).sizes["total"]
    for node in artefact.graph.nodes:
        if isinstance(node, MatMul):  # whole tiles of its second operand are read
            place, rows = artefact.places[node.inputs[1]], artefact.graph.tensors[node.inputs[1]].shape[0]
            assert place.address + -(-rows // 16) * 16 * place.row <= artefact.sizes["total"]
    check(graph, artefact, lengths(graph))


@pytest.mark.parametrize("name", LITTLE)
def test_little_memory(name: str) -> None:
    graph = model(name)
    artefact = compile_graph(graph, EDGE.replace(memory_bytes=LITTLE[name]))
    assert artefact.sizes["total"] <= LITTLE[name] and artefact.pages is not None
    if name == "llama":
        assert any(place.ring for place in artefact.places.values())
    if name != "masked bert":
        assert any(each.endswith("@0") and artefact.graph.tensors[each].dtype == "int16" for each in artefact.places)
    check(graph, artefact, lengths(graph))


def test_no_external_memory() -> None:
    for name in ("bert", "llama"):
        check(model(name), compile_graph(model(name), EDGE.replace(external_bytes=0, codec_lanes=0)))


@pytest.mark.parametrize("tokens", [2, 15, 16, 17, 33])
def test_any_number_of_tokens(tokens: int) -> None:
    for make in (lambda: bert(tokens, layers=1), lambda: llama(tokens, 32, 2, 1)):
        graph = run_passes(make())
        core = quantise(graph, samples(graph, 2))
        check(core, compile_graph(core, EDGE, Goal("memory")))


LONG = EDGE.replace(memory_bytes=1 << 22)


@cache
def long(tokens: int, masked: bool = True, heads: int = 2) -> Graph:
    """A layer of as many tokens with heads of 16 channels."""
    graph = run_passes(bert(tokens, 16 * heads, heads, 1, masked))
    return quantise(graph, samples(graph, 1))


@pytest.mark.parametrize("tokens", [1, 2, 100, 1000, 1024])
def test_sequences_of_every_size(tokens: int) -> None:
    """Compiled for so many."""
    for heads in (1, 2):
        graph = long(tokens, False, heads)
        check(graph, compile_graph(graph, LONG))


def test_shorter_sequences_of_a_long_one() -> None:
    """One program: whole rows of scores, and cut into stripes for the memory that edge has."""
    graph = long(1024)
    for artefact in (compile_graph(graph, LONG), compile_graph(graph, EDGE)):
        assert (artefact.sizes["activations"] > 1 << 20) == (artefact.config is LONG)
        check(graph, artefact, (None, 1, 2, 100, 1000, 1024))


def test_what_lies_past_the_length_does_not_matter() -> None:
    """Inputs with different rows behind the sequence, on one machine with the remains of others before."""
    graph = model("masked bert")
    session = noisy(compile_graph(graph, EDGE))
    x = random_inputs(graph, 1)["x"]
    outputs = []
    for seed in (2, 3):
        given = x.copy()
        given[9:] = random_inputs(graph, seed)["x"][9:]
        session.infer({"x": random_inputs(graph, 9)["x"]})
        outputs.append(session.infer({"x": given}, 9)[0][graph.outputs[0]])
    assert session.difference is None and outputs[0].shape[0] == 9
    assert np.array_equal(*outputs) and np.array_equal(
        outputs[0], session.infer({"x": x[:9]}, 9)[0][graph.outputs[0]])
    assert not np.array_equal(outputs[0], execute(graph, {"x": x})[graph.outputs[0]][:9])


@pytest.mark.parametrize("length", [0, 25, -1])
def test_lengths_that_there_are_not(length: int) -> None:
    graph = model("masked bert")
    with pytest.raises(UserError, match=f"a sequence of {length} tokens; bert was compiled for 1 to 24"):
        noisy(compile_graph(graph, EDGE)).infer(random_inputs(graph), length)


def test_a_length_without_a_mask_is_refused() -> None:
    with pytest.raises(UserError, match="bert takes no mask: its sequence is as long as it was compiled for"):
        noisy(compile_graph(model("bert"), EDGE)).infer(random_inputs(model("bert")), 3)


@pytest.mark.parametrize(("name", "changes", "message"), [
    ("bert", {"activation_products": 0}, "multiplies two activations, which edge cannot; set activation_products=1"),
    ("bert", {"norm_lanes": 0}, "needs the norm unit, which edge does not have; set norm_lanes=4"),
    ("bert", {"softmax_lanes": 0}, "needs the softmax unit, which edge does not have; set softmax_lanes=4"),
    ("bert", {"rows": 8}, r"as many rows and columns as a word of the memory has bytes \(16\), not 8 x 16"),
    ("words", {"external_bytes": 0, "codec_lanes": 0}, "the table of an embedding lies in external memory"),
    ("words", {"activation_products": 0}, "read by number, which edge cannot; set external_bytes=8 and act"),
])
def test_machines_that_cannot(name: str, changes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compile_graph(model(name), EDGE.replace(**changes))


@pytest.mark.parametrize(("width", "count"), [(48, 2), (32, 4), (80, 4)])
def test_heads_that_are_no_whole_words(width: int, count: int) -> None:
    graph = run_passes(bert(width=width, count=count, layers=1))
    core = quantise(graph, samples(graph, 1))
    with pytest.raises(UserError, match=f"heads of {width // count} channels; they must be multiples of 16"):
        compile_graph(core, EDGE)
