"""Autoencoder on 640 spectral values: the anomaly detection network of MLPerf Tiny, with seeded random weights."""

from systolith.rtl.isa import DOUBLE

from .builder import Builder
from .layered import Layered


def _layers(b: Builder) -> tuple[str, ...]:
    """Fully connected layers with ReLU, narrow in the middle; the last one without."""
    x = "input"
    for channels in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = b.dense(x, channels, "relu")
    return (b.dense(x, 640),)


ad = Layered("ad", "autoencoder, anomaly detection of MLPerf Tiny", _layers, (1, 1, 640), 0.391, 89, samples=64,
             rounding=DOUBLE)
