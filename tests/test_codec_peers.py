"""The models of other codecs: by hand, by decoding, by search, and by the standard's own example."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.sim.codec import default_tile
from systolith.sim.codec.peers import (
    PEERS,
    apack_bits,
    deflate_bits,
    ebpc_bits,
    entropy_bits,
    jpegls_bits,
    shapeshifter_bits,
    zero_value_bits,
)
from systolith.sim.codec.peers.apack import table_cost
from systolith.sim.codec.peers.ebpc import plane_bits, zero_run_bits
from systolith.sim.codec.peers.jpegls import encode
from tests.codec_tiles import rectified, smooth, tiles
from tests.jpegls_decoder import Decoder


def tensor(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8).reshape(1, -1, 1)


def test_zero_value() -> None:
    assert zero_value_bits(tensor(0, 0, 5, 255), 0) == 4 + 16
    assert zero_value_bits(tensor(7, 0, 7, 7), 7) == 4 + 8


def test_entropy() -> None:
    assert entropy_bits(tensor(1, 2, 3, 4)) == 8
    assert entropy_bits(tensor(9, 9, 9)) == 0
    assert entropy_bits(tensor(0, 0, 0, 1)) == pytest.approx(4 * 0.811278)


def test_shapeshifter() -> None:
    """A group of 16: mask, width, what is not zero; a ragged group has no more values than there are."""
    assert shapeshifter_bits(tensor(*[0] * 14, 5, 7), 0) == 16 + 3 + 2 * 3
    assert shapeshifter_bits(tensor(*[10] * 14, 5, 17), 10) == 16 + 4 + 2 * 4  # -5 and 7: three bits and the sign
    assert shapeshifter_bits(tensor(*[1] * 16, 255), 0) == 17 + 3 + 16 + 3 + 8
    assert shapeshifter_bits(tensor(0, 0), 0) == 2 + 3


def test_deflate() -> None:
    assert deflate_bits(np.zeros((64, 64, 4), np.uint8), 0) < 8 * 64
    channels = np.broadcast_to(np.random.default_rng(1).integers(0, 256, 256, np.uint8), (32, 32, 256))
    assert deflate_bits(np.ascontiguousarray(channels), 0) < 8 * 10_000  # channel by channel: each is constant


def test_zero_runs() -> None:
    """A bit for each value that is not zero, five for up to 16 zeros."""
    def bits(text: str) -> int:
        return zero_run_bits(np.array([c == "0" for c in text]))
    assert bits("1") == 1 and bits("0") == 5 and bits("0" * 16) == 5 and bits("0" * 17) == 10
    assert bits("1001" + "0" * 33 + "1") == 3 + 5 + 15


def planes_by_hand(words: list[int]) -> int:
    """One block of the paper's table of symbols, bit by bit."""
    differences = [(b - a) % 512 for a, b in pairwise(words)]
    planes = ["".join(str(d >> p & 1) for d in differences) for p in range(8, -1, -1)]
    changed = [int(a, 2) ^ int(b, 2) for a, b in pairwise(planes)] + [int(planes[-1], 2)]
    codes = []
    for plane, symbol in zip(planes, (f"{c:07b}" for c in changed), strict=True):
        ones = symbol.count("1")
        codes.append("zero" if not ones else "00000" if ones == 7 else "00001" if "1" not in plane else
                     "00010xxx" if ones == 2 and "11" in symbol else "00011xxx" if ones == 1 else "1" + symbol)
    bits, run = 8, 0
    for code in [*codes, ""]:
        if code == "zero":
            run += 1
            continue
        bits += 0 if not run else 3 if run == 1 else 5
        run = 0
        bits += len(code)
    return bits


def test_planes() -> None:
    assert plane_bits(np.full(8, 100, np.uint8)) == 8 + 5
    numbers = np.random.default_rng(3)
    blocks = [numbers.integers(0, high, 8) + low for high, low in
              [(256, 0), (2, 100), (3, 7), (8, 0), (30, 200)] * 40] + [np.arange(8) * k for k in range(-4, 5)]
    for words in np.array(blocks, int) % 256:
        assert plane_bits(words.astype(np.uint8)) == planes_by_hand(words.tolist()), words
    assert plane_bits(np.array(blocks[:7]).astype(np.uint8).ravel()) == sum(
        planes_by_hand((block % 256).tolist()) for block in blocks[:7])
    assert plane_bits(np.zeros(0, np.uint8)) == 0


def test_ebpc() -> None:
    """The two streams together, over one channel after the other."""
    values = np.zeros((1, 9, 2), np.uint8)
    values[0, :8, 0], values[0, :8, 1] = np.arange(1, 9), 77
    assert ebpc_bits(values, 0) == 16 + 10 + planes_by_hand(list(range(1, 9))) + planes_by_hand([77] * 8)


def test_apack() -> None:
    """The best cut into ranges is the best of all cuts; its table is counted."""
    numbers = np.random.default_rng(2)
    for ranges in (1, 2, 3, 4):
        counts = numbers.integers(0, 30, 11) * numbers.integers(0, 2, 11)
        total = counts.sum()
        best = np.inf
        for cuts in combinations(range(1, 11), ranges - 1):
            cost = 0.0
            for first, end in pairwise([0, *cuts, 11]):
                part = counts[first:end].sum()
                cost += part * (int(end - first - 1).bit_length() - np.log2(part / total)) if part else 0
            best = min(best, cost)
        assert table_cost(counts, ranges) == pytest.approx(best)
    assert apack_bits(np.full((4, 4, 4), 9, np.uint8)) == 16 * 21
    assert apack_bits(np.arange(256, dtype=np.uint8).reshape(16, 16, 1)) == pytest.approx(16 * 21 + 2048)


def bit_string(picture: NDArray[np.uint8]) -> str:
    return "".join(f"{value:0{length}b}" for value, length in encode(picture))


def test_jpegls_example() -> None:
    """ITU-T T.87, annex H.3."""
    picture = np.array([[0, 0, 90, 74], [68, 50, 43, 205], [64, 145, 145, 145], [100, 145, 145, 145]], np.uint8)
    wanted = bytes.fromhex("c000006c80208e01c0000057400000 6ee6000001bc18000005d8000091 60")
    bits = bit_string(picture)
    assert bits == "".join(f"{byte:08b}" for byte in wanted)[:len(bits)] and len(bits) > 8 * len(wanted) - 8


@pytest.mark.parametrize("seed", range(6))
def test_jpegls_decodes(seed: int) -> None:
    """Pictures of all kinds come back, the last two long enough to halve the counts, also those of runs."""
    pictures = [values.transpose(2, 0, 1).reshape(-1, values.shape[1]) for values, *_ in tiles(seed).values()]
    sparse = np.random.default_rng(seed).integers(0, 40, (200, 30), np.uint8)
    for picture in (*pictures, np.where(sparse < 34, 50, sparse + 14), smooth((120, 60, 1), seed, 1 + seed)[:, :, 0]):
        assert Decoder(bit_string(picture), picture.shape[1], len(picture)).picture() == picture.tolist()


def test_jpegls_sizes() -> None:
    """Noise costs about 8 bits, what is smooth far less, a constant picture next to nothing; no tile grows."""
    noise = np.random.default_rng(1).integers(0, 256, (16, 16, 16), np.uint8)
    assert jpegls_bits(noise, 0) == 16 + 8 * noise.size
    assert jpegls_bits(smooth((32, 32, 16), 1, 1), 0) < 4 * 32 * 32 * 16
    flat = np.full((16, 16, 16), 5, np.uint8)
    assert np.prod(default_tile(flat.shape)) == flat.size and 16 < jpegls_bits(flat, 0) < 400


def test_escapes_have_their_length() -> None:
    """Codes are never longer than T.87's limit."""
    for values, *_ in tiles(3).values():
        codes = encode(values.transpose(2, 0, 1).reshape(-1, values.shape[1]))
        assert all(0 <= value < 1 << length and length <= 32 for value, length in codes)


def test_all_peers() -> None:
    values = rectified((16, 16, 16), 1)
    sizes = {name: bits(values, 0) / values.size for name, bits in PEERS.items()}
    assert len(sizes) == 6 and all(0.5 < size < 9 for size in sizes.values()), sizes
