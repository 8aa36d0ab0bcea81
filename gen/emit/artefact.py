"""The compiled file (`.slp`): a zip of one JSON manifest and raw sections, each with its SHA-256."""

import dataclasses
import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from systolith.gen import graph as core
from systolith.gen.errors import UserError
from systolith.gen.files import write_whole
from systolith.gen.graph import Graph, Node, Tensor
from systolith.rtl.config import Config

from .places import Place
from .program import HostRow

FORMAT = 5
_NODES = {kind.__name__: kind for kind in Node.__subclasses__()}


@dataclass(frozen=True)
class Layer:
    """What the report says of one operator; its index is the tag of its instructions."""

    name: str
    operator: str
    unit: str
    source: str
    output: str
    shape: tuple[int, int, int]
    macs: int
    fill: float = 1.0
    """Part of the array's multipliers that the layer's tiles fill."""
    note: str = ""


@dataclass(frozen=True)
class Written:
    """When instruction `number` of `unit` (from 0) is done, these rows, positions and channels of a tensor are in
    memory."""

    unit: str
    number: int
    tensor: str
    rows: range
    positions: range
    channels: range


@dataclass(frozen=True)
class Pool:
    """The pages of a program's streams."""

    address: int
    """Of the first of them in the unified memory."""
    limit: int
    """Pages on the chip that may be in use."""
    needed: int
    """Pages that the samples needed, with which it was compiled."""
    outside: int
    """External address of the first page outside."""
    tile_bytes: dict[int, int] = field(default_factory=dict)
    """What a tile of the samples has on average, by the tag of the operator that packs or unpacks it."""


@dataclass(frozen=True)
class Parts:
    """Where the parts of a program lie in external memory that is not whole in the unified memory."""

    external: int
    """Address of the first."""
    stride: int
    """From one to the next."""
    words: tuple[int, ...]
    """Of each part."""


@dataclass
class Artefact:
    """A network compiled for one machine."""

    config: Config
    graph: Graph
    program: list[int]
    """In the order in which it is executed."""
    memory: bytes
    """Unified memory from address 0: program, or its loader and room for parts, parameters, resident weights."""
    external: bytes
    """External memory from address 0: weight tiles and constants; parts of the program."""
    places: dict[str, Place]
    """Where each tensor lies that is in memory at all."""
    lifetimes: dict[str, tuple[int, int]]
    """First and last piece of work between which a tensor's memory is its own: -1 from the start."""
    layers: list[Layer]
    sizes: dict[str, int]
    """Bytes: program, parameters, weights (ring or resident), activations, total, capacity."""
    written: list[Written]
    optimise: str = "cycles"
    codec: str = "off"
    """What it was compiled for: see `gen.goal.Goal`."""
    feeds: list[HostRow] = field(default_factory=list)
    """What the host does while the program runs."""
    pages: Pool | None = None
    """The pages of streams, where it has some."""
    parts: Parts | None = None
    """Those of the program, where it comes in parts."""
    digest: str = field(default="", compare=False)

    @property
    def addresses(self) -> dict[str, int]:
        """Address of each tensor."""
        return {name: place.address for name, place in self.places.items()}

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def constant_bytes(self) -> int:
        """Bytes of weights and constants, from external address 0 on."""
        return self.parts.external if self.parts else len(self.external)

    @property
    def external_bytes(self) -> int:
        """External memory that it needs: its own bytes, and the pages outside."""
        config = self.config
        if not self.pages or not config.external_bytes:
            return len(self.external)
        return self.pages.outside + config.outside_pages * config.page_bytes

    def tensor_of(self, tag: int) -> str:
        """The tensor that the instructions with this tag make or read, as the network calls it."""
        node = self.graph.nodes[tag]
        return node.inputs[0].split("@")[0] if isinstance(node, core.Pack | core.Unpack) else node.output


def _graph_to_json(graph: Graph, arrays: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    nodes = []
    for index, node in enumerate(graph.nodes):
        entry: dict[str, Any] = {"operator": node.operator}
        for f in dataclasses.fields(node):
            value = getattr(node, f.name)
            if isinstance(value, np.ndarray):
                key = f"{index}.{f.name}"
                arrays[key] = value
                value = {"array": key}
            entry[f.name] = value
        nodes.append(entry)
    return {"name": graph.name, "inputs": graph.inputs, "outputs": graph.outputs, "nodes": nodes,
            "tensors": [dataclasses.asdict(t) for t in graph.tensors.values()],
            "input_layouts": graph.input_layouts, "output_layouts": graph.output_layouts,
            "convention": dataclasses.asdict(graph.convention), "mask": graph.mask}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(v) for v in value) if isinstance(value, list) else value


def _graph_from_json(entry: dict[str, Any], arrays: Any) -> Graph:
    nodes: list[Node] = []
    for values in entry["nodes"]:
        kind = _NODES[values.pop("operator")]
        nodes.append(kind(**{name: arrays[value["array"]] if isinstance(value, dict) else _tuple(value)
                             for name, value in values.items()}))
    tensors = [Tensor(**{k: _tuple(v) for k, v in t.items()}) for t in entry["tensors"]]
    return Graph(entry["name"], tuple(entry["inputs"]), tuple(entry["outputs"]),
                 {t.name: t for t in tensors}, tuple(nodes),
                 {k: tuple(v) for k, v in entry["input_layouts"].items()},
                 {k: tuple(v) for k, v in entry["output_layouts"].items()},
                 core.Convention(**{k: _tuple(v) for k, v in entry["convention"].items()}), entry["mask"])


def _pool(values: dict[str, Any]) -> Pool:
    return Pool(**values | {"tile_bytes": {int(tag): size for tag, size in values.get("tile_bytes", {}).items()}})


def _program(count: int, parts: Parts | None, memory: bytes, external: bytes) -> list[int]:
    """The words of a program of `count` words."""
    coming = parts.words if parts else ()
    raw = memory[:4 * (count - sum(coming))]
    for number, words in enumerate(coming):
        assert parts is not None
        at = parts.external + number * parts.stride
        raw += external[at:at + 4 * words]
    return np.frombuffer(raw, "<u4").tolist()


def save(artefact: Artefact, path: Path) -> None:
    """Writes the file whole or not at all; the same artefact gives the same bytes."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    manifest: dict[str, Any] = {
        "format": FORMAT, "config": dataclasses.asdict(artefact.config),
        "graph": _graph_to_json(artefact.graph, arrays), "optimise": artefact.optimise,
        "codec": artefact.codec, "pages": dataclasses.asdict(artefact.pages) if artefact.pages else None,
        "parts": dataclasses.asdict(artefact.parts) if artefact.parts else None,
        "feeds": [[one.tensor, one.row, one.address, list(one.after.items()), one.gives] for one in artefact.feeds],
        "program_words": len(artefact.program), "lifetimes": artefact.lifetimes,
        "places": {name: dataclasses.asdict(place) for name, place in artefact.places.items()},
        "layers": [dataclasses.asdict(layer) for layer in artefact.layers], "sizes": artefact.sizes,
        "written": [[one.unit, one.number, one.tensor, *([r.start, r.stop, r.step] for r in (
            one.rows, one.positions, one.channels))] for one in artefact.written],
    }
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    sections = {"memory.bin": artefact.memory, "external.bin": artefact.external, "constants.npz": packed.getvalue()}
    manifest["sha256"] = {name: hashlib.sha256(raw).hexdigest() for name, raw in sections.items()}
    text = json.dumps(manifest).encode()
    sections = {"manifest.json": text, "manifest.sha256": hashlib.sha256(text).hexdigest().encode()} | sections
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, raw in sections.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), raw, zipfile.ZIP_DEFLATED, 6)
    write_whole(path, whole.getvalue())


def load(path: Path, config: Config | None = None) -> Artefact:
    """Reads a file, checking every section; `UserError` for one that is missing, damaged, of another format, or made
    for another machine than `config`, where that is given."""
    artefact = _read(path)
    if config is not None and artefact.config != config:
        own, asked = dataclasses.asdict(artefact.config), dataclasses.asdict(config)
        changes = ", ".join(f"{name} is {own[name]} and not {asked[name]}" for name in own if own[name] != asked[name])
        raise UserError(f"{path} was compiled for another configuration ({changes}); compile the network again, "
                        f"or leave out --preset, --config and --set to use the file's own")
    return artefact


def _read(path: Path) -> Artefact:
    if not path.is_file():
        raise UserError(f"there is no file {path}; make it with `systolith compile MODEL.onnx -o {path.name}`")
    damaged = UserError(f"{path} is damaged (a checksum does not match); compile the network again")
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("manifest.json")
            if hashlib.sha256(text).hexdigest().encode() != archive.read("manifest.sha256"):
                raise damaged
            manifest = json.loads(text)
            if manifest["format"] != FORMAT:
                raise UserError(f"{path} has format {manifest['format']}, this version reads {FORMAT}; "
                                f"compile the network again")
            sections = {name: archive.read(name) for name in manifest["sha256"]}
    except PermissionError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError, NotImplementedError, EOFError, RuntimeError):
        raise damaged from None  # RuntimeError: a flipped bit says that a section is encrypted
    for name, raw in sections.items():
        if hashlib.sha256(raw).hexdigest() != manifest["sha256"][name]:
            raise damaged
    with np.load(io.BytesIO(sections["constants.npz"]), allow_pickle=False) as arrays:
        graph = _graph_from_json(manifest["graph"], arrays)
    parts = Parts(**{k: _tuple(v) for k, v in manifest["parts"].items()}) if manifest["parts"] else None
    words = _program(manifest["program_words"], parts, sections["memory.bin"], sections["external.bin"])
    layers = [Layer(**{k: _tuple(v) for k, v in entry.items()}) for entry in manifest["layers"]]
    return Artefact(Config(**manifest["config"]), graph, words, sections["memory.bin"], sections["external.bin"],
                    {name: Place(**values) for name, values in manifest["places"].items()},
                    {k: (v[0], v[1]) for k, v in manifest["lifetimes"].items()}, layers, manifest["sizes"],
                    [Written(*one[:3], *(range(*part) for part in one[3:])) for one in manifest["written"]],
                    manifest["optimise"], manifest["codec"],
                    [HostRow(tensor, row, at, dict(after), tuple(gives))
                     for tensor, row, at, after, gives in manifest["feeds"]],
                    _pool(manifest["pages"]) if manifest["pages"] else None, parts,
                    hashlib.sha256(text).hexdigest())
