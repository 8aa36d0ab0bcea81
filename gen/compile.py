"""Core graph to artefact: lifetimes, addresses, program, constants."""

import numpy as np

from systolith.gen.emit.artefact import Artefact, Layer
from systolith.gen.emit.constants import k_tiles
from systolith.gen.emit.nodes import Emitter, Layout
from systolith.gen.errors import UserError
from systolith.gen.graph import Conv2D, Graph, Node, Pool2D, Reshape
from systolith.gen.schedule.memory import Buffer, lower_bound, place
from systolith.rtl.config import Config
from systolith.rtl.isa import FieldError

RING_PART = 16
"""The ring of weight tiles takes this part of the unified memory, at most."""
RING_TILES = 128


def _lifetimes(graph: Graph) -> tuple[list[Buffer], dict[str, str]]:
    """Buffers of the tensors, and for each tensor the buffer that it lies in (reshapes share their input's).

    Inputs live from before the first node, outputs until after the last. A tensor's buffer is free for what the node
    after its last reader makes: that node's results leave the vector unit only when the reader has finished.
    """
    home = {name: name for name in graph.inputs}
    first = {name: 0 for name in graph.inputs}
    last = dict(first)
    for step, node in enumerate(graph.nodes):
        for name in node.inputs:
            last[home[name]] = step
        if isinstance(node, Reshape):
            home[node.output] = home[node.inputs[0]]
        else:
            home[node.output] = node.output
            first[node.output] = last[node.output] = step
    for name in graph.outputs:
        last[home[name]] = len(graph.nodes)
    return [Buffer(name, graph.tensors[name].bytes, first[name], last[name]) for name in first], home


def _fill(node: Node, config: Config) -> float:
    if not isinstance(node, Conv2D):
        return 1.0
    ky, kx, kc = k_tiles(node, config.rows)
    return node.weights.size / (ky * kx * kc * config.rows * -(-node.weights.shape[0] // config.cols) * config.cols)


def _layers(graph: Graph, config: Config, emitter: Emitter) -> list[Layer]:
    layers = []
    for node in graph.nodes:
        out = graph.tensors[node.output]
        unit = {"Conv2D": "array", "Reshape": "none"}.get(node.operator, "vector")
        macs = node.macs(out) if isinstance(node, Conv2D) else 0
        layers.append(Layer(node.name, node.operator, unit, node.source, node.output, out.shape, macs,
                            emitter.program.last_writer(node.output), _fill(node, config)))
    return layers


def _check(graph: Graph) -> None:
    """What the instructions cannot say."""
    for node in graph.nodes:
        shape = graph.tensors[node.inputs[0]].shape
        if max(shape[0], shape[1]) >= 1 << 15:
            raise UserError(f"{node.name}: a tensor of {shape[0]} x {shape[1]} positions is too large; "
                            f"at most 32767 each way")
        if isinstance(node, Pool2D) and max(node.kernel) > 255:
            raise UserError(f"{node.name}: a window of {node.kernel[0]} x {node.kernel[1]} is too large; "
                            f"at most 255 each way")
        if isinstance(node, Pool2D) and shape[2] > 65535:
            raise UserError(f"{node.name}: {shape[2]} channels are too many; at most 65535")


def _does_not_fit(graph: Graph, config: Config, buffers: list[Buffer], used: dict[str, int]) -> UserError:
    missing = used["total"] - config.memory_bytes
    _, step = lower_bound(buffers, config.word_bytes)
    alive = sorted((b for b in buffers if b.first <= step <= b.last), key=lambda b: -b.size)
    tensors = ", ".join(f"{b.name} {'x'.join(map(str, graph.tensors[b.name].shape))} ({b.size})" for b in alive[:4])
    where = graph.nodes[min(step, len(graph.nodes) - 1)].name
    hint = ("" if config.external_bytes
            else "; with external memory (external_bytes=8) the weights would not need to stay in it")
    return UserError(
        f"{graph.name} needs {used['total']} bytes and {config.name} has {config.memory_bytes}: {missing} bytes too "
        f"many (program {used['program']}, parameters {used['parameters']}, weights {used['weights']}, activations "
        f"{used['activations']}; the largest at {where}: {tensors}). "
        f"Choose a larger memory_bytes or a smaller input{hint}.")


def compile_graph(graph: Graph, config: Config, *, ring_tiles: int | None = None) -> Artefact:
    """The artefact of a graph for a machine; `UserError` where it does not fit, by how much and with which tensors."""
    graph.check()
    _check(graph)
    tile, word = config.weight_tile_bytes, config.word_bytes
    if ring_tiles is None:
        ring_tiles = min(RING_TILES, max(4, config.memory_bytes // RING_PART // tile))
    layout = Layout(ring_tiles=ring_tiles if config.external_bytes else 0)
    sizing = Emitter(graph, config, layout)
    try:
        sizing.run()
    except FieldError as error:  # addresses are all 0 yet: what is too large is the operator
        raise UserError(f"{sizing.node} is too large for one instruction: {error}") from None

    def align(size: int) -> int:
        return -(-size // word) * word

    buffers, home = _lifetimes(graph)
    offsets, activations = place(buffers, word)
    weights = layout.ring_tiles * tile if layout.ring_tiles else len(sizing.weights)
    sizes = {"program": align(4 * len(sizing.program.words())), "parameters": align(len(sizing.parameters)),
             "weights": weights, "activations": activations}
    sizes["total"] = sum(sizes.values())
    sizes["capacity"] = config.memory_bytes
    if sizes["total"] > config.memory_bytes:
        raise _does_not_fit(graph, config, buffers, sizes)
    layout.parameters = sizes["program"]
    layout.ring = layout.parameters + sizes["parameters"]
    base = layout.ring + weights
    layout.tensors = {name: base + offsets[home[name]] for name in home}
    emitter = Emitter(graph, config, layout)
    emitter.run()
    words = emitter.program.words()
    memory = np.array(words, "<u4").tobytes().ljust(sizes["program"], b"\0")
    memory += bytes(emitter.parameters).ljust(sizes["parameters"], b"\0")
    if not layout.ring_tiles:
        memory += bytes(emitter.weights)
    by_name = {b.name: (b.first, b.last) for b in buffers}
    return Artefact(config, graph, words, memory, bytes(emitter.weights) if layout.ring_tiles else b"", layout.tensors,
                    {name: by_name[home[name]] for name in home}, _layers(graph, config, emitter), sizes)
