"""A user's sequences of several lengths: files with a mask through calibration and every command, against ONNX
Runtime; and what is said of files that are wrong."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact, load
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_float, import_model, load_model
from systolith.gen.graph import Feed
from systolith.gen.passes import run_passes
from systolith.gen.presets import preset
from systolith.gen.quantize import quantise
from systolith.gen.report import run_report
from systolith.gen.run import Session
from systolith.gen.schedule.streams import feed_inputs
from systolith.sim.golden.execute import execute, random_inputs
from systolith.sim.model.session import measure
from tests.cli_calls import Call
from tests.onnx_models import run_reference
from tests.transformer_models import bert_export
from tests.transformer_networks import model

Array = NDArray[Any]
T, WORDS = 24, 50


def sentences(lengths: list[int], seed: int, rest: int = 0) -> dict[str, Array]:
    """Words by number, `rest` behind each sentence, and masks."""
    mask = np.arange(T) < np.array(lengths)[:, None]
    words = np.random.default_rng(seed).integers(WORDS, size=mask.shape)
    return {"input_ids": np.where(mask, words, rest), "attention_mask": mask.astype(np.int64)}


LENGTHS = [21, 7, 24, 1, 10]
GIVEN = sentences(LENGTHS, 2)
CALIBRATION = sentences([*np.random.default_rng(5).integers(1, T + 1, 19).tolist(), 6], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.onnx, calibration.npz and given.npz."""
    made = tmp_path_factory.mktemp("masked")
    onnx.save(bert_export(T, words=WORDS), made / "net.onnx")
    np.savez(made / "calibration.npz", **CALIBRATION)
    np.savez(made / "given.npz", **GIVEN)
    return made


@pytest.fixture(scope="module")
def compiled(folder: Path) -> Path:
    """The network compiled by the command."""
    from typer.testing import CliRunner

    from systolith.gen.cli import app
    file = folder / "net.slp"
    done = CliRunner().invoke(app, ["compile", str(folder / "net.onnx"), "--calibrate",
                                    str(folder / "calibration.npz"), "-o", str(file)])
    assert done.exit_code == 0, done.output
    return file


def test_against_onnx_runtime(call: Call, folder: Path, compiled: Path, tmp_path: Path) -> None:
    """Tokens that are there as in the float network, zeros behind them; engines alike, whatever the rest holds."""
    np.savez(tmp_path / "other.npz", **sentences(LENGTHS, 2, rest=WORDS - 1))
    found = {}
    for name, network, given, more in (
            ("golden", folder / "net.onnx", folder / "given.npz", ("--calibrate", folder / "calibration.npz")),
            ("machine", compiled, folder / "given.npz", ("--check",)), ("model", compiled, tmp_path / "other.npz", ())):
        out = tmp_path / f"{name}.npz"
        answer = call("run", network, "--input", given, "-o", out, "--engine", name, *more)
        assert answer.code == 0, answer.err
        assert "5 samples" in answer.out and ("equal to the golden model" in answer.out) == (name == "machine")
        found[name] = dict(np.load(out))
    for name in ("machine", "model"):
        assert all(np.array_equal(found["golden"][each], found[name][each]) for each in ("tokens", "tokens_int8"))
    model = onnx.load(folder / "net.onnx")
    for number, length in enumerate(LENGTHS):
        one = {name: array[number:number + 1] for name, array in GIVEN.items()}
        real = run_reference(model, one)[0][0, :length]
        whole = run_reference(model, {**one, "attention_mask": np.ones((1, T), np.int64)})[0][0, :length]
        made = found["golden"]["tokens"][number]
        assert made.shape == (T, 64) and not made[length:].any()
        error = np.sqrt(np.mean((made[:length] - real) ** 2))
        assert error < 0.03 * np.sqrt(np.mean(real ** 2))
        assert length > 12 or np.sqrt(np.mean((whole - real) ** 2)) > 3 * error  # a mask matters


@pytest.mark.parametrize("way", ["arrays", "samples"])
def test_calibration_sees_valid_tokens_only(way: str, folder: Path) -> None:
    float_graph = run_passes(import_float(load_model(folder / "net.onnx"), "net"))
    ends = CALIBRATION["attention_mask"].sum(1).tolist()
    expected = quantise(float_graph, [{"input_ids": row[:end].reshape(-1, 1, 1)}
                                      for row, end in zip(CALIBRATION["input_ids"], ends, strict=True)])
    given: Any = {**CALIBRATION, "input_ids": np.where(CALIBRATION["attention_mask"], CALIBRATION["input_ids"], 3)}
    if way == "samples":
        given = [{name: array[number] for name, array in given.items()} for number in range(len(ends))]
    made = import_model(folder / "net.onnx", given)
    assert made.tensors == expected.tensors and made.mask == "attention_mask"
    whole = import_model(folder / "net.onnx", {**CALIBRATION, "attention_mask": np.ones((20, T), int)})
    assert whole.tensors != made.tensors


def sequence(length: int | None, artefact: Artefact) -> Any:
    return run_report(artefact, "model", "edge", None, measure(artefact, length or 0), 32, length=length)


def test_reports_of_shorter_sequences(compiled: Path) -> None:
    """MACs, shapes and bytes are the shorter sequence's, so that no more than all multipliers are used."""
    artefact = load(compiled)
    whole, full, short = (sequence(length, artefact) for length in (None, T, 5))
    assert (whole.length, full.length, short.length) == (None, T, 5) and whole.macs == full.macs == artefact.macs
    assert short.macs == 5 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 4 * 5 * 5 * 16
    assert [layer.shape[0] for layer in short.layers] == [5] * len(short.layers)
    assert short.cycles < full.cycles and short.traffic.memory_read < full.traffic.memory_read
    assert short.traffic.constants_external == full.traffic.constants_external
    assert "a sequence of 5 of 24 tokens" in short.conditions and "sequence" not in whole.conditions + full.conditions


def test_commands_show_the_length(call: Call, folder: Path, compiled: Path, tmp_path: Path,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    answer = call("run", compiled, "--input", folder / "given.npz", "-o", tmp_path / "out.npz", "--engine", "model",
                  "--json", tmp_path / "run.json")
    made = json.loads((tmp_path / "run.json").read_text())
    assert answer.code == 0 and made["length"] == LENGTHS[-1] and "a sequence of 10 of 24 tokens" in answer.out
    real, given = Session.infer, []

    def seen(self: Session, inputs: dict[str, Array], length: int | None = None) -> Any:
        given.append((inputs["input_ids"].ravel().tolist(), length))
        return real(self, inputs, length)

    monkeypatch.setattr(Session, "infer", seen)
    for engine in ("model", "machine"):  # the last sample of the calibration
        answer = call("bench", folder / "net.onnx", "--calibrate", folder / "calibration.npz", "--engine", engine,
                      "--json", tmp_path / "bench.json")
        (found,) = json.loads((tmp_path / "bench.json").read_text())
        assert answer.code == 0, answer.err
        assert found["length"] == 6 and found["seed"] is None
        assert found["bit_exact"] is (True if engine == "machine" else None)
        assert found["cycles"] == (measure(load(compiled), 6).cycles if engine == "model" else None)
    assert given == [(CALIBRATION["input_ids"][-1].tolist(), 6)]


def test_words_that_the_host_brings_row_by_row(compiled: Path) -> None:
    """The network reads its input through another tensor; it is the same of as many entries."""
    graph = feed_inputs(load(compiled).graph)
    assert any(isinstance(node, Feed) for node in graph.nodes) and graph.entries() == {"input_ids": WORDS}
    made = execute(graph, {"input_ids": GIVEN["input_ids"][2].reshape(T, 1, 1)})["tokens"]
    assert np.array_equal(made, execute(load(compiled).graph, {"input_ids": GIVEN["input_ids"][2][None]})["tokens"])


def test_one_sample_without_its_axis(call: Call, compiled: Path, tmp_path: Path) -> None:
    found = []
    for number, given in enumerate(({name: array[1] for name, array in GIVEN.items()},
                                    {name: array[1:2] for name, array in GIVEN.items()},
                                    {name: array[1:2, None].astype(float) for name, array in GIVEN.items()},
                                    {**GIVEN, "attention_mask": GIVEN["attention_mask"].astype(bool)})):
        np.savez(tmp_path / "in.npz", **given)
        assert call("run", compiled, "--input", tmp_path / "in.npz", "-o", tmp_path / "out.npz").code == 0
        found.append(np.load(tmp_path / "out.npz")["tokens_int8"][1 if number == 3 else 0])
    assert all(np.array_equal(each, found[0]) for each in found)


def changed(**arrays: Array) -> dict[str, Array]:
    return {**GIVEN, **arrays}


IDS, MASK = GIVEN["input_ids"], GIVEN["attention_mask"]
WRONG: dict[str, tuple[dict[str, Array], str]] = {
    "long": ({"input_ids": np.zeros((5, 30), int), "attention_mask": np.ones((5, 30))},
             "'input_ids' has 30 tokens a sample; net was compiled for 24: cut longer sequences, fill up shorter ones"),
    "short": ({"input_ids": np.zeros((5, 9), int), "attention_mask": np.ones((5, 9))}, "has 9 tokens a sample"),
    "empty": ({"input_ids": np.zeros((5, 0), int), "attention_mask": np.ones((5, 0))}, "has 0 tokens a sample"),
    "negative": (changed(input_ids=np.where(np.arange(T) == 4, -7, IDS)),
                 "'input_ids' is -7 at [0, 4]; its table has entries 0 to 49: give whole numbers"),
    "too large": (changed(input_ids=IDS + 2**40), "its table has entries 0 to 49: give whole numbers from there"),
    "halves": (changed(input_ids=IDS + 0.5), ".5 at [0, 0]; its table has entries 0 to 49: give whole numbers"),
    "not a number": (changed(input_ids=IDS * np.nan), "'input_ids' is nan at [0, 0]"),
    "text": (changed(input_ids=IDS.astype(str)), "must be integers from 0 to 49, not <U"),
    "mask of fewer tokens": (changed(attention_mask=MASK[:, :20]),
                             "'attention_mask' must have the shape [5, 24], a row a sample, not [5, 20]"),
    "mask of fewer samples": (changed(attention_mask=MASK[:3]), "must have the shape [5, 24], a row a sample"),
    "mask of text": (changed(attention_mask=MASK.astype(str)), "of sample 0 must be numbers, 0 or 1, not <U"),
    "hole": (changed(attention_mask=np.where(np.arange(T) == np.arange(5)[:, None] + 2, 0, 1)),
             "'attention_mask' of sample 0 is 0 at token 2 and 1 at a later one; it must be ones for the first tokens"),
    "padding first": (changed(attention_mask=MASK[:, ::-1]), "of sample 0 is 0 at token 0 and 1 at a later one"),
    "twos": (changed(attention_mask=MASK * 2), "of sample 0 is 2 at token 0; it must be 1 for a token that counts"),
    "part": (changed(attention_mask=MASK * 0.5), "of sample 0 is 0.5 at token 0; it must be 1"),
    "minus": (changed(attention_mask=np.where(np.arange(T) == 9, -1, MASK)), "of sample 0 is -1 at token 9"),
    "mask is not a number": (changed(attention_mask=MASK * np.nan), "of sample 0 is nan at token 0"),
    "nothing": (changed(attention_mask=MASK * (np.arange(5) != 3)[:, None]),
                "of sample 3 is 0 everywhere; it must be 1 for the first tokens, one at least"),
    "no mask": ({"input_ids": IDS}, "has no array 'attention_mask', the network's mask: ones for the tokens of each"),
    "no words": ({"attention_mask": MASK}, "has no array 'input_ids', the network's input; it has attention_mask"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_are_wrong(name: str, refused: Callable[..., str], compiled: Path, tmp_path: Path) -> None:
    arrays, says = WRONG[name]
    file = tmp_path / "in.npz"
    np.savez(file, **arrays)  # type: ignore[arg-type]
    refused("run", compiled, "--input", file, "-o", tmp_path / "out.npz", says=(str(file), says))


@pytest.mark.parametrize("name", ["negative", "too large", "halves", "mask of fewer samples", "hole", "twos", "nothing",
                                  "no mask", "not a number"])
def test_calibration_that_is_wrong(name: str, refused: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    arrays, says = WRONG[name]
    np.savez(tmp_path / "in.npz", **arrays)  # type: ignore[arg-type]
    refused("compile", folder / "net.onnx", "--calibrate", tmp_path / "in.npz", "-o", tmp_path / "out.slp",
            says=("calibration", says.replace("[0, ", "[").removeprefix("has no array ")))


def test_a_float_network_asks_for_its_mask_too(refused: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    refused("compile", folder / "net.onnx", "-o", tmp_path / "out.slp",
            says="--calibrate DATA.npz with an array [N, ...] for each of input_ids, attention_mask\n")


def test_a_machine_without_the_length_register() -> None:
    graph = model("words")
    artefact = compile_graph(graph, preset("edge"))
    without = dataclasses.replace(artefact, config=artefact.config.replace(softmax_lanes=0, norm_lanes=0))
    session = Session(without, "machine")
    with pytest.raises(UserError, match="edge has no length register; set softmax_lanes=4 and norm_lanes=4"):
        session.infer(random_inputs(graph), 3)
