"""Learns the pairs of a byte-pair encoding: again and again the pair that occurs most becomes a token."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from systolith.gen.language.tokenizer import BYTES, PIECE, Tokenizer, joined

LONGEST = 16
"""Bytes of a token: runs of one character do not fill the vocabulary."""


def learn(texts: Iterable[str], size: int) -> Tokenizer:
    """A tokenizer of `size` tokens, END and bytes among them. Of pairs as frequent the smallest comes first."""
    counts = Counter(piece for text in texts for piece in PIECE.findall(text))
    words = [list(piece.encode()) for piece in counts]
    weights = list(counts.values())
    frequency: Counter[tuple[int, int]] = Counter()
    places: dict[tuple[int, int], set[int]] = defaultdict(set)
    lengths = [1] * BYTES
    for number, word in enumerate(words):
        for pair in pairwise(word):
            frequency[pair] += weights[number]
            places[pair].add(number)
    pairs: list[tuple[int, int]] = []
    while len(pairs) < size - BYTES - 1:
        best = min(frequency, key=lambda pair: (-frequency[pair], pair))
        length = lengths[best[0]] + lengths[best[1]]
        if length > LONGEST:
            del frequency[best]
            continue
        lengths.append(length)
        pairs.append(best)
        for number in places.pop(best):
            for pair in pairwise(words[number]):
                frequency[pair] -= weights[number]
            words[number] = joined(words[number], best, BYTES + len(pairs) - 1)
            for pair in pairwise(words[number]):
                frequency[pair] += weights[number]
                places[pair].add(number)
        del frequency[best]
    return Tokenizer(pairs)
