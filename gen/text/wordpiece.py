"""WordPiece as BERT's uncased models have it: text to numbers of their vocabulary."""

import re
import unicodedata
from collections.abc import Sequence

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST = 100
"""A longer word is unknown as a whole."""
_CHINESE = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
            (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
"""Characters that are words by themselves; the limits are those of the tokenizers that trained the models."""


class WordPiece:
    """A vocabulary, and how text becomes numbers of it.

    Parameters
    ----------
    words: the vocabulary in order; a piece that continues a word begins with "##".
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words)}
        self._special = re.compile(f"({'|'.join(map(re.escape, SPECIAL))})")

    def __call__(self, text: str) -> list[int]:
        """Numbers of the text's pieces between those of [CLS] and [SEP]."""
        pieces = ["[CLS]"]
        for part in self._special.split(text):
            if part in SPECIAL:
                pieces.append(part)
            else:
                for word in _words(part):
                    pieces += self._pieces(word)
        return [self._numbers[piece] for piece in (*pieces, "[SEP]")]

    def _pieces(self, word: str) -> list[str]:
        """The longest piece that is known, then the longest one that goes on from there."""
        found: list[str] = []
        start = 0
        while start < len(word):
            mark = "##" if start else ""
            end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in self._numbers), None)
            if end is None or len(word) > LONGEST:
                return ["[UNK]"]
            found.append(mark + word[start:end])
            start = end
        return found


def _words(text: str) -> list[str]:
    """Lower case, without accents; punctuation and Chinese characters stand by themselves."""
    clean = "".join(_spaced(char) for char in text)
    plain = "".join(char for char in unicodedata.normalize("NFD", clean) if unicodedata.category(char) != "Mn")
    lower = "".join(char.lower() for char in plain)  # one by one: no letter depends on the next
    return "".join(f" {char} " if _is_punctuation(char) else char for char in lower).split()


def _spaced(char: str) -> str:
    """A character as it counts: control characters do not."""
    if char in "\t\n\r" or char.isspace():
        return " "
    if char == "\ufffd" or unicodedata.category(char).startswith("C"):
        return ""
    return f" {char} " if any(low <= ord(char) <= high for low, high in _CHINESE) else char


def _is_punctuation(char: str) -> bool:
    """All of ASCII that is no letter, digit or space counts too."""
    return (char.isascii() and char.isprintable() and not char.isalnum() and char != " ") or (
        unicodedata.category(char).startswith("P"))
