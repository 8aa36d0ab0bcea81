"""Weight tiles and parameter sets as the machine reads them."""

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Conv2D
from systolith.rtl.config import Config
from systolith.sim.golden.vector import pack_parameters


def packs_kernel_row(node: Conv2D) -> bool:
    """Whether a kernel row is one run of bytes in the input, so that a K tile may go over several of its pixels."""
    return node.dilations[1] == 1 or node.weights.shape[2] == 1


def k_tiles(node: Conv2D, rows: int) -> tuple[int, int, int]:
    """The ARRAY instruction's loop counts (ky, kx, kc) for the layer."""
    _, height, width, channels = node.weights.shape
    if packs_kernel_row(node):
        return height, 1, -(-width * channels // rows)
    return height, width, -(-channels // rows)


def weight_tiles(node: Conv2D, config: Config) -> NDArray[np.uint8]:
    """All weight tiles in the array's order: [tiles, ky, kx, kc, rows, word_bytes]; what no weight fills is 0."""
    out_channels, height, width, channels = node.weights.shape
    ky, kx, kc = k_tiles(node, config.rows)
    run = node.weights.reshape(out_channels, ky, kx, -1)  # the last axis is one run of bytes
    tiles = -(-out_channels // config.cols)
    full = np.zeros((tiles * config.cols, ky, kx, kc * config.rows), np.int8)
    full[:out_channels, :, :, :run.shape[3]] = run
    full = full.reshape(tiles, config.cols, ky, kx, kc, config.rows).transpose(0, 2, 3, 4, 5, 1)
    out = np.zeros((*full.shape[:5], config.word_bytes), np.int8)
    out[..., :config.cols] = full
    return out.view(np.uint8)


def _set(bias: NDArray[np.int64], multiplier: NDArray[np.int64], shift: NDArray[np.int64], config: Config) -> bytes:
    """One set; the bias wraps to int32, as the machine's sums do."""
    return pack_parameters(bias.astype(np.int32), multiplier, shift, config.cols, config.word_bytes).tobytes()


def conv_parameters(node: Conv2D, zero_point: int, config: Config) -> bytes:
    """The sets of all tiles of a layer; the input's zero point is folded into the bias."""
    sums = node.weights.astype(np.int64).sum(axis=(1, 2, 3))
    bias = node.bias.astype(np.int64) - zero_point * sums
    out = b""
    for at in range(0, len(bias), config.cols):
        part = slice(at, at + config.cols)
        out += _set(bias[part], node.multiplier[part], node.shift[part], config)
    return out


def scalar_parameters(operands: list[tuple[int, int]], shift: int, config: Config) -> bytes:
    """Sets for memory operands, given as (zero point, multiplier): X - zero_point is what is multiplied."""
    ones = np.ones(config.cols, np.int64)
    return b"".join(_set(ones * -zero_point, ones * multiplier, ones * shift, config)
                    for zero_point, multiplier in operands)
