"""A causal network one token at a time: equal to the whole sequence, on golden model, machine and Verilog."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import load, save
from systolith.gen.errors import UserError
from systolith.gen.graph import Constant, Embedding, Graph, MatMul, Softmax
from systolith.gen.passes import run_passes
from systolith.gen.passes.shorten import shortened, tokens_of
from systolith.gen.passes.step import POSITION, stepped
from systolith.gen.presets import preset
from systolith.gen.quantize import quantise
from systolith.gen.run import Session
from systolith.gen.zoo.decoder import decoder_layer, turns
from systolith.gen.zoo.float_builder import Attention, FloatBuilder
from systolith.gen.zoo.transformer import samples
from systolith.gen.zoo.weights import Seeded
from systolith.sim.golden.execute import execute, random_inputs
from tests.test_transformers_machine import noisy
from tests.transformer_networks import model

Array = NDArray[Any]
EDGE = preset("edge")
TOKENS, WIDTH, WORDS = 24, 64, 40


@cache
def whole(heads: int = 4, groups: int = 2, learned: bool = False, causal: bool = True) -> Graph:
    """Words to logits: positions that turn keys and queries, or are learnt and added; two blocks."""
    b = FloatBuilder("speaker", Seeded(3))
    x = b.embedding(b.input("words", (TOKENS, 1, 1), (1, TOKENS)), WORDS, WIDTH, "embedding")
    if learned:
        x = b.add(x, b.constant(Seeded(3).table("positions", TOKENS, WIDTH, 0.5)[:, None], "positions"), "placed")
    turned = turns(b, TOKENS, WIDTH // heads, 1e4)
    for number in range(2):
        x = decoder_layer(b, x, f"{number}.", Attention(heads, groups, causal=causal), turned, 96, 1e-5)
    out = b.linear(b.norm(x, "norm", 1e-5, rms=True), WORDS, "logits")
    graph = run_passes(b.graph({out: (1, TOKENS, WORDS)}))
    return quantise(graph, samples(graph, 1), wide=["logits"])


def step_inputs(graph: Graph, words: Array, token: int) -> dict[str, Array]:
    """What a step takes."""
    rows = {"words": words[token:token + 1], POSITION: np.full((1, 1, 1), token, np.int32)}
    return {name: rows[name] for name in graph.inputs}


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
def test_steps_are_the_rows_of_the_whole(groups: int, learned: bool) -> None:
    """Token by token, and again from the begin with other words: nothing of before is left."""
    graph = whole(4, groups, learned)
    step = stepped(graph)
    assert tokens_of(step) == TOKENS
    assert len(step.kept) == 4
    kept: dict[str, Array] = {}
    for seed in (1, 2):
        words = random_inputs(graph, seed)["words"]
        expected = execute(graph, {"words": words})["logits"]
        assert len(np.unique(expected)) > 500
        for token in range(TOKENS if seed == 1 else 5):
            found = execute(shortened(step, token + 1), step_inputs(step, words, token), kept)["logits"]
            np.testing.assert_array_equal(found[0], expected[token])


def test_what_a_step_is_made_of() -> None:
    """Rows by number where the network had one for each token, and nothing that has all tokens but what is kept."""
    step = stepped(whole())
    assert step.inputs == ("words", POSITION)
    assert step.entries() == {"words": WORDS, POSITION: TOKENS}
    assert not any(isinstance(node, Constant) for node in step.nodes)
    assert sum(isinstance(node, Embedding) for node in step.nodes) == 3
    assert all(node.masked and not node.causal for node in step.nodes if isinstance(node, Softmax))
    assert {name for name, tensor in step.tensors.items() if tensor.shape[0] != 1} == set(step.kept)


def test_what_two_products_read_is_kept_once() -> None:
    """A second product with the same keys, as a network may have it."""
    graph = whole()
    scores = next(node for node in graph.nodes if isinstance(node, MatMul))
    at = graph.nodes.index(scores)
    again = replace(scores, name="again", output="again")
    twice = replace(graph, nodes=(*graph.nodes[:at], again, *graph.nodes[at:]), outputs=(*graph.outputs, "again"),
                    tensors=graph.tensors | {"again": replace(graph.tensors[scores.output], name="again")})
    assert len(stepped(twice).kept) == len(stepped(graph).kept) == 4


@pytest.mark.parametrize("name", ["bert", "vit", "words"])
def test_other_networks_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot be run one token at a time|by itself"):
        stepped(model(name))


def test_attention_to_later_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="softmax does not make each token of those before it"):
        stepped(whole(causal=False))


def test_tokens_come_one_after_the_other() -> None:
    step = stepped(whole())
    words = random_inputs(whole())["words"]
    kept: dict[str, Array] = {}
    execute(shortened(step, 1), step_inputs(step, words, 0), kept)
    with pytest.raises(UserError, match="token 3 comes after 1 tokens"):
        execute(shortened(step, 3), step_inputs(step, words, 2), kept)
    session = Session(compile_graph(step, EDGE), "machine")
    with pytest.raises(UserError, match="say how many there are"):
        session.infer(step_inputs(step, words, 0))
    with pytest.raises(UserError, match="compiled for 1 to 24"):
        session.infer(step_inputs(step, words, 0), length=TOKENS + 1)


def test_a_machine_without_length_is_refused() -> None:
    with pytest.raises(UserError, match="softmax_lanes=4"):
        compile_graph(stepped(whole()), EDGE.replace(softmax_lanes=0, norm_lanes=0))


@pytest.mark.parametrize("heads, groups", [(4, 2), (2, 1)])
def test_on_the_machine(heads: int, groups: int, tmp_path: Any) -> None:
    """Every tensor, and all that is kept, whatever lay in the memory before; the compiled file keeps it all."""
    graph = whole(heads, groups)
    step = stepped(graph)
    save(compile_graph(step, EDGE), tmp_path / "step.slp")
    artefact = load(tmp_path / "step.slp")
    session = noisy(artefact)
    for seed, count in ((1, TOKENS), (2, 6)):
        words = random_inputs(graph, seed)["words"]
        expected = execute(graph, {"words": words})["logits"]
        for token in range(count):
            outputs, _ = session.infer(step_inputs(step, words, token), token + 1)
            assert session.difference is None, (token, str(session.difference))
            np.testing.assert_array_equal(outputs["logits"][0], expected[token])
    written = {one.tensor for one in artefact.written}
    assert set(step.kept) <= written


def test_what_is_kept_is_nobody_elses() -> None:
    artefact = compile_graph(stepped(whole()), EDGE)
    graph = artefact.graph
    spans = sorted((artefact.places[name].address, artefact.places[name].address + TOKENS * artefact.places[name].row)
                   for name in graph.kept)
    for place_name, place in artefact.places.items():
        if place_name in graph.kept:
            continue
        begin, end = place.address, place.address + place.rows * place.row
        assert all(end <= low or high <= begin for low, high in spans), place_name


def test_on_verilog() -> None:
    """Logits of a few tokens, and cycles as the model predicts them."""
    graph = whole()
    step = stepped(graph)
    artefact = compile_graph(step, EDGE)
    words = random_inputs(graph)["words"]
    predicted = Session(artefact, "model")
    session = Session(artefact, "verilator", check=True)
    for token in range(3):
        _, measured = session.infer(step_inputs(step, words, token), token + 1)
        assert session.difference is None, (token, str(session.difference))
        assert measured is not None
    _, model_ = predicted.infer(step_inputs(step, words, 0), 1)
    session.close()
    assert model_ is not None
    assert abs(model_.cycles - measured.cycles) < 0.03 * measured.cycles


def test_a_number_of_inputs_with_other_rows_stays() -> None:
    """Of a step's inputs none has as many rows as tokens: a shorter one leaves them alone."""
    step = stepped(whole())
    short = shortened(step, 3)
    assert [short.tensors[name].shape for name in short.inputs] == [(1, 1, 1), (1, 1, 1)]
    assert all(short.tensors[name].shape[0] == 3 for name in short.kept)
