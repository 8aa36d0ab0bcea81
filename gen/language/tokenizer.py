"""Byte-pair encoding: text as numbers and back, with pairs that examples/text/train.py has learnt."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from systolith.gen.errors import UserError

BYTES = 256
PIECE = re.compile(r"[A-Za-z]+ ?|[0-9] ?|\n+ *| +|[^A-Za-z0-9\s]+ ?|\s")
"""Pieces that no pair crosses: a word, a digit or punctuation with the space behind it, or a new line with its indent.

A space belongs to the word before it, so a prompt may end in a space and still be cut as text is.
"""


def joined(tokens: Sequence[int], pair: tuple[int, int], token: int) -> list[int]:
    """The tokens with `token` wherever the pair was, from the left."""
    result: list[int] = []
    at = 0
    while at < len(tokens):
        if tuple(tokens[at:at + 2]) == pair:
            result.append(token)
            at += 2
        else:
            result.append(tokens[at])
            at += 1
    return result


class Tokenizer:
    """Tokens 0 to 255 are bytes, the next ones the pairs in the order in which they were learnt, the last is END.

    Any text can be encoded, and `decode(encode(text)) == text`; lone surrogates become question marks.

    pairs: of tokens, each smaller than the token that the pair becomes.
    """

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        self.pairs = tuple((int(left), int(right)) for left, right in pairs)
        self._bytes = [bytes([value]) for value in range(BYTES)]
        for token, pair in enumerate(self.pairs, BYTES):
            if not all(0 <= part < token for part in pair):
                raise ValueError(f"pair {token} must be of tokens from 0 to {token - 1}, not of {pair}")
            self._bytes.append(self._bytes[pair[0]] + self._bytes[pair[1]])
        self._ranks = {pair: token for token, pair in enumerate(self.pairs, BYTES)}
        self._pieces: dict[str, tuple[int, ...]] = {}
        self.end = len(self._bytes)
        """Stands between texts: the first token of a prompt, and what a model says when it is done."""
        self.size = self.end + 1

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without END."""
        return [token for piece in PIECE.findall(text) for token in self._piece(piece)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Text of tokens; END says nothing, and bytes that are no UTF-8 become the replacement character."""
        return b"".join(self._bytes[token] for token in tokens if token != self.end).decode(errors="replace")

    def text_bytes(self, token: int) -> bytes:
        """What one token says: perhaps a part of a character, nothing for END."""
        return b"" if token == self.end else self._bytes[token]

    def _piece(self, piece: str) -> tuple[int, ...]:
        known = self._pieces.get(piece)
        if known is None:
            tokens = list(piece.encode(errors="replace"))
            while True:
                pairs = zip(tokens, tokens[1:], strict=False)
                first = min(pairs, key=lambda pair: self._ranks.get(pair, self.size), default=None)
                if first not in self._ranks:
                    break
                tokens = joined(tokens, first, self._ranks[first])
            known = self._pieces[piece] = tuple(tokens)
        return known

    def save(self, path: Path) -> None:
        """As JSON: {"pairs": [[left, right], ...]}."""
        rows = [f"    {list(pair)}" for pair in self.pairs]
        path.write_text('{"pairs": [\n' + ",\n".join(rows) + "\n]}\n")


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer that `save` has written; UserError names a file that is none."""
    try:
        return Tokenizer(json.loads(path.read_text())["pairs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no tokenizer: {error}") from None
