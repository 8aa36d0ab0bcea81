"""Weight tiles and parameter sets as the machine reads them."""

import numpy as np
from numpy.typing import NDArray

from systolith.gen.graph import Conv2D, DepthwiseConv2D, TransposedConv2D
from systolith.rtl.config import Config
from systolith.sim.golden.vector import pack_parameters


def k_tiles(weights: NDArray[np.int8], rows: int, packed: bool) -> tuple[int, int, int]:
    """The ARRAY instruction's loop counts (ky, kx, kc) for weights [out, height, width, in]; `packed`: a kernel row is
    one run of bytes in the input, so that a K tile may go over several of its pixels."""
    _, height, width, channels = weights.shape
    if packed:
        return height, 1, -(-width * channels // rows)
    return height, width, -(-channels // rows)


def weight_tiles(weights: NDArray[np.int8], config: Config, packed: bool) -> NDArray[np.uint8]:
    """All weight tiles in the array's order: [tiles, ky, kx, kc, rows, word_bytes]; what no weight fills is 0."""
    out_channels = weights.shape[0]
    ky, kx, kc = k_tiles(weights, config.rows, packed)
    run = weights.reshape(out_channels, ky, kx, -1)  # the last axis is one run of bytes
    tiles = -(-out_channels // config.cols)
    full = np.zeros((tiles * config.cols, ky, kx, kc * config.rows), np.int8)
    full[:out_channels, :, :, :run.shape[3]] = run
    full = full.reshape(tiles, config.cols, ky, kx, kc, config.rows).transpose(0, 2, 3, 4, 5, 1)
    return _words(full, config)


def _words(tiles: NDArray[np.int8], config: Config) -> NDArray[np.uint8]:
    """Tiles [..., rows, cols] with each row in a memory word."""
    out = np.zeros((*tiles.shape[:-1], config.word_bytes), np.int8)
    out[..., :config.cols] = tiles
    return out.view(np.uint8)


def depthwise_tiles(node: DepthwiseConv2D, times: int, reach: int, config: Config) -> NDArray[np.uint8]:
    """Weight tiles of a depthwise convolution with `times` outputs a channel: [tiles, ky, kx, reach, rows, word_bytes].

    Column j of tile t is output channel n = t * cols + j; its weights are in the row of its input channel n // times,
    counted from t * cols // times on.
    """
    outputs, ky, kx = node.weights.shape
    tiles = -(-outputs // config.cols)
    full = np.zeros((tiles, ky, kx, reach * config.rows, config.cols), np.int8)
    for n in range(outputs):
        t, j = divmod(n, config.cols)
        full[t, :, :, n // times - t * config.cols // times, j] = node.weights[n]
    return _words(full.reshape(tiles, ky, kx, reach, config.rows, config.cols), config)


def depthwise_constants(node: DepthwiseConv2D, zero_point: int, config: Config) -> bytes:
    """Constants of the DEPTHWISE instruction's channel groups: a word for each tap, then a parameter set."""
    channels, ky, kx = node.weights.shape
    groups = -(-channels // config.cols)
    taps = np.zeros((groups * config.cols, ky * kx), np.int8)
    taps[:channels] = node.weights.reshape(channels, -1)
    words = _words(taps.reshape(groups, config.cols, -1).transpose(0, 2, 1), config)
    sets = conv_parameters(node, node.weights, zero_point, config)
    size = len(sets) // groups
    return b"".join(words[g].tobytes() + sets[g * size:(g + 1) * size] for g in range(groups))


def _set(bias: NDArray[np.int64], multiplier: NDArray[np.int64], shift: NDArray[np.int64], config: Config) -> bytes:
    """One set; the bias wraps to int32, as the machine's sums do."""
    return pack_parameters(bias.astype(np.int32), multiplier, shift, config.cols, config.word_bytes).tobytes()


Convolution = Conv2D | DepthwiseConv2D | TransposedConv2D


def conv_parameters(node: Convolution, weights: NDArray[np.int8], zero_point: int, config: Config) -> bytes:
    """The sets of all tiles of output channels; the input's zero point is folded into the bias, for those weights
    [output channels, ...] that are used."""
    bias = node.bias.astype(np.int64) - zero_point * weights.astype(np.int64).reshape(len(weights), -1).sum(axis=1)
    out = b""
    for at in range(0, len(bias), config.cols):
        part = slice(at, at + config.cols)
        out += _set(bias[part], node.multiplier[part], node.shift[part], config)
    return out


def tile_parameters(tiles: int, multiplier: int, shift: int, config: Config) -> bytes:
    """As many equal sets without a bias."""
    ones = np.ones(config.cols, np.int64)
    return _set(0 * ones, multiplier * ones, shift * ones, config) * tiles


def scalar_parameters(operands: list[tuple[int, int]], shift: int, config: Config) -> bytes:
    """Sets for memory operands, given as (zero point, multiplier): X - zero_point is what is multiplied."""
    ones = np.ones(config.cols, np.int64)
    return b"".join(_set(ones * -zero_point, ones * multiplier, ones * shift, config)
                    for zero_point, multiplier in operands)
