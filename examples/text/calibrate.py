"""Writes calibration.npz: pieces of the text that the model has learnt from, on which its activations are quantised."""

from pathlib import Path

import numpy as np
from corpus import split

from systolith.gen.language.model import load_model
from systolith.gen.language.tokenizer import load_tokenizer

HERE = Path(__file__).resolve().parent
PIECES = 8


def pieces() -> np.ndarray:
    """Tokens [PIECES, context], each from the begin of a text that is long enough; seeded choice."""
    tokenizer, context = load_tokenizer(HERE / "tokenizer.json"), load_model(HERE / "model.npz").context
    found: list[list[int]] = []
    texts, _ = split()
    for number in np.random.default_rng(1).permutation(len(texts)):
        tokens = [tokenizer.end, *tokenizer.encode(texts[number])]
        if len(tokens) >= context:
            found.append(tokens[:context])
        if len(found) == PIECES:
            break
    return np.array(found, np.uint16)


if __name__ == "__main__":
    np.savez_compressed(HERE / "calibration.npz", tokens=pieces())
