"""`systolith codec`: how short a user's tensors become, beside other codecs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from systolith.rtl.codec.tables import CONST, SET_BITS, TAG_RAW, ZERO
from systolith.sim.codec import choose_coding, measure_tensor
from systolith.sim.codec.peers import PEERS, entropy_bits

from .errors import UserError
from .files import read_arrays

CODING_BITS = 8 + SET_BITS
"""A tensor's centre and set of tables are parameters of its own and counted."""

MODE_NAMES = {ZERO: "zero", CONST: "constant", TAG_RAW: "raw"}

SYSTOLITH = "systolith"


@dataclass(frozen=True)
class Tensor:
    """Bytes [rows, columns, channels]; signed ones are shifted so that both kinds are 0..255."""

    network: str
    name: str
    values: NDArray[np.uint8]
    zero_point: int


@dataclass
class NetworkSizes:
    """Bits of the tensors of one network, by codec, and values by mode."""

    name: str
    tensors: int
    values: int
    bits: dict[str, float]
    modes: NDArray[np.int64]

    def per_value(self, codec: str) -> float:
        """Bits a value."""
        return self.bits[codec] / self.values

    def mode_shares(self) -> dict[str, float]:
        """Share of the values that is coded in each mode."""
        return {MODE_NAMES.get(mode, f"table {mode}"): int(count) / self.values
                for mode, count in enumerate(self.modes) if count}

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"network": self.name, "tensors": self.tensors, "values": self.values,
                "bits_per_value": self.per_value(SYSTOLITH), "ratio": 8 / self.per_value(SYSTOLITH),
                "entropy_bits_per_value": self.per_value("entropy"),
                "peers": {name: self.per_value(name) for name in PEERS}, "modes": self.mode_shares()}


def read_tensors(path: Path, split: str | None = None, zero_point: int | None = None) -> list[Tensor]:
    """The tensors of an .npz file. Names NETWORK/TENSOR/SPLIT/ZERO_POINT say what they say; any other name is a tensor
    of the network that the file is named for, its zero point the given one or the value that it has most often."""
    arrays = read_arrays(path)
    named = {key: parts for key in arrays if (parts := _parts(key))}
    splits = sorted({parts[2] for parts in named.values()})
    if split is not None and split not in splits:
        raise UserError(f"{path} has no split {split!r}; " + (f"it has {', '.join(splits)}" if splits else
                        "its arrays are not named NETWORK/TENSOR/SPLIT/ZERO_POINT"))
    tensors = []
    for key, array in arrays.items():
        network, name, its_split, given = named.get(key, (path.stem, key, None, zero_point))
        if split is None or its_split == split:
            label = f"{name} ({its_split})" if its_split and not split else name
            tensors.append(Tensor(network, label, *_bytes(path, key, array, given)))
    if not tensors:
        raise UserError(f"{path} holds no array; give at least one tensor")
    return tensors


def _parts(key: str) -> tuple[str, str, str, int] | None:
    parts = key.split("/")
    if len(parts) != 4 or not parts[3].removeprefix("-").isdecimal():
        return None
    return parts[0], parts[1], parts[2], int(parts[3])


def _bytes(path: Path, key: str, array: NDArray[Any], zero_point: int | None) -> tuple[NDArray[np.uint8], int]:
    if array.dtype not in (np.uint8, np.int8):
        raise UserError(f"{path}: {key} must be int8 or uint8, not {array.dtype}; quantise it first")
    if array.ndim not in (2, 3, 4) or not array.size:
        raise UserError(f"{path}: {key} must be rows x columns x channels (or tokens x channels, or a batch), "
                        f"not of shape {'x'.join(map(str, array.shape))}")
    shift = 128 if array.dtype == np.int8 else 0
    values = (array.astype(np.int16) + shift).astype(np.uint8)
    values = values[None] if array.ndim == 2 else values.reshape(-1, *array.shape[-2:])
    centre = int(np.bincount(values.ravel()).argmax()) if zero_point is None else zero_point + shift
    if not 0 <= centre <= 255:
        raise UserError(f"{path}: {key} is {array.dtype}, so its zero point must be {-shift} to {255 - shift}, "
                        f"not {zero_point}")
    return values, centre


def measure(tensors: list[Tensor], progress: Callable[[str], None] | None = None) -> list[NetworkSizes]:
    """Sizes by network, in the order of the tensors."""
    networks: dict[str, NetworkSizes] = {}
    for index, tensor in enumerate(tensors):
        if progress:
            progress(f"{index + 1} of {len(tensors)}: {tensor.network} {tensor.name}")
        sizes = networks.setdefault(tensor.network, NetworkSizes(
            tensor.network, 0, 0, dict.fromkeys((SYSTOLITH, "entropy", *PEERS), 0.0), np.zeros(TAG_RAW + 1, np.int64)))
        measured = measure_tensor(tensor.values, *choose_coding(tensor.values, tensor.zero_point))
        sizes.tensors += 1
        sizes.values += tensor.values.size
        sizes.modes += measured.modes
        sizes.bits[SYSTOLITH] += 8 * measured.bytes + CODING_BITS
        sizes.bits["entropy"] += entropy_bits(tensor.values)
        for name, bits in PEERS.items():
            sizes.bits[name] += bits(tensor.values, tensor.zero_point)
    return list(networks.values())


def mean(networks: list[NetworkSizes], codec: str) -> float:
    """Mean over the networks of the bits a value."""
    return float(np.mean([network.per_value(codec) for network in networks]))


def record(networks: list[NetworkSizes]) -> dict[str, Any]:
    """The whole answer as JSON has it."""
    return {"mean_bits_per_value": mean(networks, SYSTOLITH), "mean_entropy_bits_per_value": mean(networks, "entropy"),
            "mean_peers": {name: mean(networks, name) for name in PEERS},
            "networks": [network.record() for network in networks]}


def size_table(networks: list[NetworkSizes]) -> Table:
    """Bits a value by network and codec."""
    table = Table(title="bits per int8 value, all framing of ours counted", title_justify="left")
    table.add_column("network")
    for name in ("tensors", SYSTOLITH, "ratio", "entropy", *PEERS):
        table.add_column(name, justify="right")
    for network in networks:
        ours = network.per_value(SYSTOLITH)
        table.add_row(network.name, str(network.tensors), f"{ours:.3f}", f"{8 / ours:.2f}",
                      *(f"{network.per_value(name):.3f}" for name in ("entropy", *PEERS)))
    if len(networks) > 1:
        ours = mean(networks, SYSTOLITH)
        table.add_row("mean", str(sum(network.tensors for network in networks)), f"{ours:.3f}", f"{8 / ours:.2f}",
                      *(f"{mean(networks, name):.3f}" for name in ("entropy", *PEERS)), end_section=True)
    return table


def mode_table(networks: list[NetworkSizes]) -> Table:
    """Share of the values in each mode."""
    modes = [m for m in range(TAG_RAW + 1) if any(network.modes[m] for network in networks)]
    table = Table("network", title="share of the values in each mode, %", title_justify="left")
    for mode in modes:
        table.add_column(MODE_NAMES.get(mode, f"table {mode}"), justify="right")
    for network in networks:
        table.add_row(network.name, *(f"{100 * network.modes[mode] / network.values:.1f}" for mode in modes))
    return table
