"""Digits as small pictures in a terminal: `python examples/digits/pictures.py` shows the first test images."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCKS = " ░▒▓█"
LETTERS = " .:*#"
"""For terminals that have no block characters."""
GAP = "   "


def picture(image: NDArray[Any], shades: str = BLOCKS) -> list[str]:
    """Lines of one image of values from 0 (blank) to 1, [..., height, width]; a pixel is two characters wide."""
    pixels = np.asarray(image, np.float64).reshape(np.shape(image)[-2:])
    levels = np.rint(np.clip(pixels, 0, 1) * (len(shades) - 1)).astype(int)
    return ["".join(2 * shades[level] for level in row) for row in levels.tolist()]


def pictures(images: Sequence[NDArray[Any]] | NDArray[Any], labels: Sequence[object] = (), *, across: int = 4,
             shades: str = BLOCKS) -> str:
    """Images [n, ..., height, width] as text, `across` beside each other, each with its label centred underneath."""
    if labels and len(labels) != len(images):
        raise ValueError(f"there must be a label for each of the {len(images)} images, not {len(labels)}")
    blocks = []
    for start in range(0, len(images), across):
        shown = [picture(image, shades) for image in images[start:start + across]]
        lines = [GAP.join(parts) for parts in zip(*shown, strict=True)]
        if labels:
            below = zip(labels[start:start + across], shown, strict=True)
            lines.append(GAP.join(str(label).center(len(part[0])) for label, part in below))
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks)


def shades_for(encoding: str | None) -> str:
    """Block characters where the encoding has them."""
    try:
        BLOCKS.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return LETTERS
    return BLOCKS


if __name__ == "__main__":
    from data import load

    digits = load()
    print(pictures(digits.test_images[:8], digits.test_labels[:8].tolist(), shades=shades_for(sys.stdout.encoding)))
