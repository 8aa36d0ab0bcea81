"""The zoo: sizes as published, constants that follow from scales, values spread over int8, the same on all machines."""

import functools
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systolith.gen import cli, networks
from systolith.gen.errors import UserError
from systolith.gen.graph import (
    Add,
    Concat,
    Conv2D,
    DepthwiseConv2D,
    Graph,
    Lookup,
    Pool2D,
    Resize,
    Softmax,
    Tensor,
)
from systolith.gen.networks import artefact_of
from systolith.gen.presets import preset
from systolith.gen.quantize import limits, shared_shift
from systolith.gen.zoo import ZOO, from_name
from systolith.gen.zoo.builder import Builder
from systolith.gen.zoo.constants import ACTIVATIONS, silu_table
from systolith.gen.zoo.layered import Layered
from systolith.gen.zoo.network import macs, parameters
from systolith.rtl.isa import DOUBLE, SINGLE
from systolith.sim.golden.execute import execute
from systolith.sim.golden.rescale import quantise_scale

TINY = ("resnet8", "ds-cnn", "vww", "ad")
LAYERED = [name for name, network in ZOO.items() if isinstance(network, Layered)]
SMALL = {name: None if name in TINY else 64 for name in LAYERED}
"""Sizes that are quick."""
BUILT = [name for name in LAYERED if name != "resnet50-v1.5"]  # the same code as resnet50, and as slow
PUBLISHED = {  # MMAC as in the literature, parameters (weights and folded biases), outputs
    "resnet8": (12.5, 77_706, [(1, 1, 10)]),
    "ds-cnn": (2.66, 22_604, [(1, 1, 12)]),
    "vww": (7.49, 210_850, [(1, 1, 2)]),
    "ad": (0.264, 265_864, [(1, 1, 640)]),
    "resnet50": (3860, 25_530_472, [(1, 1, 1000)]),
    "resnet50-v1.5": (4090, 25_530_472, [(1, 1, 1000)]),
    "mobilenetv2": (300, 3_487_816, [(1, 1, 1000)]),
    "yolov5s-640-relu": (8230, 7_225_885, [(80, 80, 255), (40, 40, 255), (20, 20, 255)]),
    "yolov5s-640-silu": (8230, 7_225_885, [(80, 80, 255), (40, 40, 255), (20, 20, 255)]),
}
Weighted = Conv2D | DepthwiseConv2D


@functools.cache
def small(name: str) -> Graph:
    return ZOO[name](SMALL[name])


@functools.cache
def values(name: str) -> dict[str, np.ndarray[Any, Any]]:
    """Every tensor for one input that the network was not built with."""
    graph = small(name)
    x = np.random.default_rng(77).integers(-128, 128, graph.tensors["input"].shape, np.int8)
    return execute(graph, {"input": x})


def weighted(graph: Graph) -> list[Weighted]:
    return [node for node in graph.nodes if isinstance(node, Weighted)]


def digest(graph: Graph) -> str:
    """Of everything in the graph."""
    total = hashlib.sha256(repr((graph.name, graph.inputs, graph.outputs, graph.tensors, graph.input_layouts)).encode())
    for node in graph.nodes:
        for value in vars(node).values():
            total.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return total.hexdigest()


# What they are


def test_names() -> None:
    assert LAYERED == list(PUBLISHED)
    assert all(ZOO[name].name == name for name in ZOO)


@pytest.mark.parametrize("name", LAYERED)
def test_sizes_as_published(name: str) -> None:
    graph = ZOO[name].outline()
    mmac, count, outputs = PUBLISHED[name]
    assert macs(graph) == pytest.approx(mmac * 1e6, rel=0.01)
    assert parameters(graph) == count
    assert [graph.tensors[output].shape for output in graph.outputs] == outputs


@pytest.mark.parametrize("name", BUILT)
def test_the_outline_is_the_network(name: str) -> None:
    graph, outline = small(name), ZOO[name].outline(SMALL[name])
    assert [(n.operator, n.inputs, n.output) for n in graph.nodes] == [
        (n.operator, n.inputs, n.output) for n in outline.nodes]
    assert {t: graph.tensors[t].shape for t in graph.tensors} == {t: outline.tensors[t].shape for t in outline.tensors}
    assert (macs(graph), parameters(graph)) == (macs(outline), parameters(outline))


def _strides(graph: Graph) -> list[tuple[int, int]]:
    """Kernel height and stride of the layers that have one."""
    return [(n.weights.shape[1], n.strides[0]) for n in weighted(graph) if n.strides[0] > 1]


def _relus(graph: Graph) -> str:
    """r for a convolution that ends in a ReLU, - for a linear one."""
    return "".join("r" if graph.tensors[n.output].zero_point == -128 else "-" for n in weighted(graph))


def test_resnets_have_linear_ends_of_blocks() -> None:
    assert _relus(ZOO["resnet8"].outline()) == "r" + "r-" + "r--" * 2 + "-"
    assert _relus(ZOO["resnet50"].outline()) == "r" + "".join(
        "rr--" + "rr-" * more for more in (2, 3, 5, 2)) + "-"
    for name in ("resnet8", "resnet50"):
        graph = ZOO[name].outline()
        assert all(graph.tensors[n.output].zero_point == -128 for n in graph.nodes if isinstance(n, Add))


def test_resnet50_has_its_strides_where_the_version_has_them() -> None:
    assert _strides(ZOO["resnet50"].outline()) == [(7, 2)] + [(1, 2), (1, 2)] * 3  # block and shortcut
    assert _strides(ZOO["resnet50-v1.5"].outline()) == [(7, 2)] + [(3, 2), (1, 2)] * 3
    assert macs(ZOO["resnet50"].outline()) == 3_857_973_248


def test_mobilenetv2_has_linear_bottlenecks() -> None:
    graph = ZOO["mobilenetv2"].outline()
    assert sum(isinstance(n, Add) for n in graph.nodes) == 10
    assert [n.strides[0] for n in graph.nodes if isinstance(n, DepthwiseConv2D)] == [
        1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    for node in weighted(graph):
        tensor = graph.tensors[node.output]
        narrow = isinstance(node, Conv2D) and node.weights.shape[0] in (16, 24, 64, 160, 320, 1000)
        if narrow:
            assert tensor.zero_point > -128
        elif isinstance(node, DepthwiseConv2D):
            assert (tensor.zero_point, tensor.scale) == (-128, float(np.float32(6 / 255)))  # 0 to 6


def test_vww_and_ds_cnn_are_pairs() -> None:
    for name, pairs in (("vww", 13), ("ds-cnn", 4)):
        kinds = [n.operator for n in ZOO[name].outline().nodes]
        assert kinds == ["Conv2D", *["DepthwiseConv2D", "Conv2D"] * pairs, "Pool2D", "Reshape", "Conv2D", "Softmax"]
    first = ZOO["ds-cnn"].outline().nodes[0]
    assert isinstance(first, Conv2D) and first.padding == (4, 1, 5, 1)  # as TensorFlow pads 49 x 10 for 10 x 4


def test_ad_is_narrow_in_the_middle() -> None:
    graph = ZOO["ad"].outline()
    assert [n.weights.shape[0] for n in weighted(graph)] == [128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    assert [graph.tensors[n.output].zero_point == -128 for n in graph.nodes] == [True] * 9 + [False]
    assert graph.input_layouts == {"input": (1, 640)}


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_yolov5s_has_its_parts(activation: str) -> None:
    graph = ZOO[f"yolov5s-640-{activation}"].outline()
    pools = [n for n in graph.nodes if isinstance(n, Pool2D)]
    assert [(n.mode, n.kernel, n.strides, n.padding) for n in pools] == [("max", (5, 5), (1, 1), (2, 2, 2, 2))] * 3
    assert [b.inputs[0] for b in pools[1:]] == [a.output for a in pools[:2]]  # one after the other
    resized = [graph.tensors[n.output].shape for n in graph.nodes if isinstance(n, Resize)]
    assert resized == [(40, 40, 256), (80, 80, 128)]
    concats = [n for n in graph.nodes if isinstance(n, Concat)]
    assert len(concats) == 8 + 4 + 1
    maker = {n.output: n for n in graph.nodes}
    up, down = concats[5:9:2], concats[9::2]
    assert [[graph.tensors[i].shape for i in n.inputs] for n in (*up, *down)] == [
        [shape] * 2 for shape in ((40, 40, 256), (80, 80, 128), (40, 40, 128), (20, 20, 256))]
    resizes = [maker[n.inputs[0]] for n in up]
    assert all(isinstance(n, Resize) for n in resizes)
    assert [n.inputs[1] for n in down] == [n.inputs[0] for n in reversed(resizes)]
    assert sum(isinstance(n, Add) for n in graph.nodes) == 1 + 2 + 3 + 1
    assert len(weighted(graph)) == 60
    assert sum(isinstance(n, Lookup) for n in graph.nodes) == (57 if activation == "silu" else 0)  # not the heads
    assert (graph.nodes[0].weights.shape, graph.nodes[0].padding) == ((32, 6, 6, 3), (2, 2, 2, 2))  # type: ignore
    assert graph.output_layouts[graph.outputs[0]] == (1, 255, 80, 80)


@pytest.mark.parametrize("name", BUILT)
def test_rounding(name: str) -> None:
    for node in weighted(small(name)):
        tiny = name in TINY and not node.name.startswith("dense")
        assert node.rounding == (DOUBLE if tiny else SINGLE)


def test_a_network_at_another_size() -> None:
    net = ZOO["resnet8"]
    a, b = net(), net(64)
    assert (a.name, b.name) == ("resnet8", "resnet8@64") and b.tensors["input"].shape == (64, 64, 3)
    assert macs(b) - 640 == 4 * (macs(a) - 640)
    for x, y in zip(weighted(a), weighted(b), strict=True):
        np.testing.assert_array_equal(x.weights, y.weights)
    assert from_name("resnet8@64") is not None and digest(from_name("resnet8@64")) == digest(b)  # type: ignore[arg-type]
    assert digest(net(32)) == digest(a)


@pytest.mark.parametrize("text, says", [
    ("resnet50@70", "multiple of 32 high and wide, at least 64, not 70"), ("vww@32", "at least 64, not 32"),
    ("yolov5s-640-relu@0", "not 0"), ("ds-cnn@49", "ds-cnn has one size; leave out @49"), ("ad@640", "one size"),
    ("resnet8@64x2", "resnet8 has one number of layers; leave out x2")])
def test_sizes_that_are_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        from_name(text)


@pytest.mark.parametrize("text", [
    "resnet9", "resnet8@", "resnet8@big", "resnet8@-4", "resnet8@1e3", "vit-tiny@224x", "vit-tiny@x2", "@32", "",
    "a\nb"])
def test_names_that_are_none(text: str) -> None:
    assert from_name(text) is None


# Their constants


@pytest.mark.parametrize("name", ["ds-cnn", "mobilenetv2"])
def test_the_same_seed_makes_the_same_network(name: str) -> None:
    assert digest(ZOO[name](SMALL[name])) == digest(small(name))
    assert digest(ZOO[name](SMALL[name], seed=2)) != digest(small(name))


def test_it_does_not_depend_on_threads_or_hashes() -> None:
    code = ("from tests.test_zoo import digest, small; "
            "print(digest(small('mobilenetv2')), digest(small('ad')))")
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True,
                          cwd=Path(__file__).parent.parent)
    assert done.stdout.split() == [digest(small("mobilenetv2")), digest(small("ad"))]


@pytest.mark.parametrize("name", BUILT)
def test_multipliers_follow_from_scales(name: str) -> None:
    graph = small(name)
    for node in graph.nodes:
        x, out = graph.tensors[node.inputs[0]], graph.tensors[node.output]
        if isinstance(node, Weighted):
            assert node.weight_scales is not None
            pairs = [quantise_scale(x.scale * float(s) / out.scale) for s in node.weight_scales]
            assert list(zip(node.multiplier.tolist(), node.shift.tolist(), strict=True)) == pairs
        elif isinstance(node, Add):
            other = graph.tensors[node.inputs[1]]
            assert (node.multiplier, node.shift) == shared_shift(x.scale / out.scale, other.scale / out.scale)
        elif isinstance(node, Softmax):
            assert node.table[0] == 1 << 24 and (out.scale, out.zero_point) == (1 / 256, -128)
            assert node.table[9] == round(2 ** 24 * math.exp(-9 * x.scale))
        elif not isinstance(node, Lookup):  # the same integers
            assert all((t.scale, t.zero_point) == (out.scale, out.zero_point)
                       for t in (graph.tensors[i] for i in node.inputs))
    scales = [graph.tensors[node.output].scale for node in weighted(graph)]
    assert len(set(scales)) > len(scales) / 3 or name == "mobilenetv2"  # a ReLU6 has one scale


def test_tables_are_silu() -> None:
    graph = small("yolov5s-640-silu")
    tables = [node for node in graph.nodes if isinstance(node, Lookup)]
    for node in tables:
        x, out = graph.tensors[node.inputs[0]], graph.tensors[node.output]
        real = (np.arange(-128, 128) - x.zero_point) * x.scale
        wanted = real / (1 + np.exp(-real))
        made = (node.table.astype(int) - out.zero_point) * out.scale
        inside = np.abs(node.table.astype(int) + 0.5) < 127  # a table for a scale that is given may saturate
        assert np.abs(made - wanted)[inside].max() <= 0.51 * out.scale
        assert x.zero_point > -128 and len(set(node.table.tolist())) > 64
    table, scale, zero_point = silu_table(Tensor("", (1, 1, 1), "int8", 0.05, -20), (0.01, -100))
    assert (scale, zero_point, table[255], table[108]) == (0.01, -100, 127, -100)


@pytest.mark.parametrize("name", BUILT)
def test_channels_differ(name: str) -> None:
    """So that a machine which mixes them up is found."""
    for node in weighted(small(name)):
        channels = len(node.bias)
        factors = node.multiplier / 2.0 ** node.shift
        assert len(set(factors.tolist())) > 0.9 * channels and len(set(node.bias.tolist())) > 0.9 * channels
        if channels > 8:
            assert factors.max() > 1.2 * factors.min()
        largest = np.abs(node.weights.astype(int)).max(axis=tuple(range(1, node.weights.ndim)))
        assert (largest == 127).all()
    adds = [node for node in small(name).nodes if isinstance(node, Add)]
    assert all(node.multiplier[0] != node.multiplier[1] for node in adds)


# Their values


@pytest.mark.parametrize("name", BUILT)
def test_values_are_spread_over_int8(name: str) -> None:
    graph, seen = small(name), values(name)
    ends, layers = [], 0
    for node in graph.nodes:
        tensor, y = graph.tensors[node.output], seen[node.output]
        if not isinstance(node, Weighted | Add) or y.size < 64:
            continue
        layers += 1
        assert len(np.unique(y)) >= 64, node.name
        ends.append(float(np.isin(y, (-128, 127, tensor.zero_point)).mean()))
        assert ends[-1] < 0.4 and np.mean(y == 127) < 0.1, node.name
        if y.shape[0] > 1:  # a channel says something of the place
            still = np.mean(np.ptp(y.astype(int), axis=(0, 1)) == 0)
            assert still < 0.15, node.name
    assert layers >= 9 and np.mean([end < 0.3 for end in ends]) > 0.8
    for output in graph.outputs:
        assert len(np.unique(seen[output])) >= min(64, seen[output].size / 2)


@pytest.mark.parametrize("name", ["resnet8", "mobilenetv2", "yolov5s-640-silu"])
def test_pools_and_resizes_do_what_they_say(name: str) -> None:
    graph, seen = small(name), values(name)
    kinds = set()
    for node in graph.nodes:
        x, y = seen[node.inputs[0]].astype(int), seen[node.output].astype(int)
        if isinstance(node, Pool2D) and node.mode == "average":
            assert np.abs(x.mean(axis=(0, 1)) - y).max() <= 0.51
        elif isinstance(node, Pool2D):
            wide = np.pad(x, ((2, 2), (2, 2), (0, 0)), constant_values=-128)
            assert (y == np.lib.stride_tricks.sliding_window_view(wide, (5, 5), (0, 1)).max(axis=(3, 4))).all()
        elif isinstance(node, Resize):
            assert (y == x.repeat(2, axis=0).repeat(2, axis=1)).all()
        else:
            continue
        kinds.add(node.operator)
    assert kinds == ({"Pool2D", "Resize"} if name.startswith("yolo") else {"Pool2D"})


def test_relu6_meets_both_ends() -> None:
    graph, seen = small("mobilenetv2"), values("mobilenetv2")
    wide = [node for node in weighted(graph) if graph.tensors[node.output].zero_point == -128]
    assert len(wide) == 35
    assert sum(127 in seen[node.output] and -128 in seen[node.output] for node in wide) > 30


def test_a_large_network_stays_spread() -> None:
    """Constants are made with smaller images than the network's own."""
    graph = ZOO["mobilenetv2"]()
    x = np.random.default_rng(5).integers(-128, 128, graph.tensors["input"].shape, np.int8)
    for output, y in execute(graph, {"input": x}).items():
        if output.startswith(("conv", "depthwise", "add")):
            tensor = graph.tensors[output]
            assert np.isin(y, (-128, 127, tensor.zero_point)).mean() < 0.35 and len(np.unique(y)) > 150, output


# The builder


def test_parts_of_a_concat_must_have_one_scale() -> None:
    b = Builder("net", Tensor("input", (4, 4, 3)), sample=(2, 4, 4, 3))
    x = b.conv("input", 5)
    with pytest.raises(ValueError, match="concat_2: conv_1 has another scale or zero point than conv_0"):
        b.concat(x, b.conv("input", 5))
    both = b.concat(x, b.conv("input", 6, activation="silu", like=x), b.conv("input", 7, like=x))
    assert b.tensors[both].shape == (4, 4, 18)


@pytest.mark.parametrize("kind, clamp", [("none", (-128, 127)), ("relu6", (-128, 127)), ("silu", (-128, 127))])
def test_clamps(kind: str, clamp: tuple[int, int]) -> None:
    b = Builder("net", Tensor("input", (6, 6, 3)), sample=(2, 6, 6, 3))
    b.conv("input", 5, activation=kind)
    node = b.nodes[0]
    assert isinstance(node, Conv2D) and (node.low, node.high) == clamp
    like = b.conv("input", 5, activation="none")
    b.conv("input", 5, activation="relu6", like=like)
    node = b.nodes[-1]
    assert isinstance(node, Conv2D)
    assert (node.low, node.high) == limits(*ACTIVATIONS["relu6"].clamp, b.tensors[like])
    assert node.low == b.tensors[like].zero_point


def test_a_channel_without_values_gets_a_multiplier_all_the_same() -> None:
    b = Builder("net", Tensor("input", (4, 4, 2), zero_point=-128), sample=(2, 4, 4, 2))
    b._values["input"][..., 0] = -128  # one channel is always 0
    node = b.graph(b.depthwise("input")).nodes[0]
    assert isinstance(node, DepthwiseConv2D) and (node.multiplier > 0).all() and (np.abs(node.bias) < 1 << 20).all()


def test_few_values_are_measured_together() -> None:
    """One channel of two samples says nothing of its deviation, and the next two would be far outside."""
    b = Builder("net", Tensor("input", (1, 1, 64)), sample=(2, 1, 1, 64))
    graph = b.graph(b.dense("input", 50))
    node = graph.nodes[0]
    assert isinstance(node, Conv2D)
    factors = node.multiplier / 2.0 ** node.shift
    assert factors.max() < 2 * factors.min()  # 0.75 to 1.25
    y = execute(graph, {"input": np.random.default_rng(3).integers(-128, 128, (1, 1, 64), np.int8)})[graph.outputs[0]]
    assert np.isin(y, (-128, 127)).mean() < 0.1


# For the user


def _call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["systolith", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _call(monkeypatch, "zoo", "--json", str(tmp_path / "zoo.json")) == 0
    out = capsys.readouterr().out
    for text in (*ZOO, "seeded random", "3,857.97", "25,530,472", "49x10x1", "multiples of 32"):
        assert text in out
    records = json.loads((tmp_path / "zoo.json").read_text())
    assert [r["name"] for r in records] == list(ZOO)
    assert records[0] == {"name": "resnet8", "what": ZOO["resnet8"].what, "input": [32, 32, 3],
                          "sizes": "multiples of 4", "layers": "",
                          "macs": 12_501_632, "parameters": 77_706, "weights": "seeded random"}
    assert _call(monkeypatch, "zoo", "--json", str(tmp_path / "no" / "zoo.json")) == 2
    assert "make it first" in capsys.readouterr().err


def test_a_benchmark_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "compile_graph", lambda graph, config, goal, progress: graph)
    config = preset("edge")
    assert digest(artefact_of("ad", config)) == digest(small("ad"))  # type: ignore[arg-type]
    assert artefact_of("resnet8@64", config).name == "resnet8@64"  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="there is no network 'resnet9'; give a zoo network .resnet8, ds-cnn"):
        artefact_of("resnet9", config)
