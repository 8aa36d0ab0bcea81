"""Handwritten digits of scikit-learn (UCI; 8x8 pixels of 17 levels), split once and for all.

Training images also set the ranges of the quantised network; the test images only judge it.
"""

import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

TEST_IMAGES = 500
CALIBRATION_IMAGES = 100
SEED = 0


@dataclass(frozen=True)
class Digits:
    """Images are float32 [n, 1, 8, 8] from 0 (paper) to 1 (ink); labels are int64 [n], 0 to 9."""

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


@cache
def load() -> Digits:
    """The 1297 training and 500 test images, every digit in the same share of both."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int64), test_size=TEST_IMAGES, stratify=labels, random_state=SEED)
    return Digits(train_images, train_labels, test_images, test_labels)


def calibration() -> dict[str, NDArray[np.float32]]:
    """Training images that set the ranges of the activations, keyed by the network's input name."""
    return {"image": load().train_images[:CALIBRATION_IMAGES]}


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) == 2 else "images.npz"
    np.savez(name, image=load().test_images[:20])
    print(f"{name}: 20 test images, float32 [20, 1, 8, 8], under the network's input name")
