"""Judges model.npz in numpy: bits per byte of the held-out texts, the largest activations, and what it writes.

`python examples/text/judge.py`; `--int8` also rounds activations as a machine does, with ranges from training texts.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from corpus import split
from numpy.typing import NDArray

from systolith.gen.language.complete import complete, greedy, predictor, sampler, unrepeated
from systolith.gen.language.model import Cache, LanguageModel, Watch, forward, load_model
from systolith.gen.language.tokenizer import Tokenizer, load_tokenizer

HERE = Path(__file__).resolve().parent
PROMPTS = ("The list ", "Return ", "If the file ", "A class is ", "This module ", "Raise an exception ")
CALIBRATION = 100
"""Training texts that set the ranges of the activations."""
RESIDUAL = ("embedding", "attention_sum", "mlp_sum")
"""Ends of the names of tensors that have 16 bits, and one scale for all."""
WIDE = ("scores", "logits")
"""Ends of the names of tensors that are not rounded."""


def bits_per_byte(model: LanguageModel, tokenizer: Tokenizer, texts: Iterable[str],
                  watch: Watch | None = None) -> float:
    """Bits for the tokens of each text and its end, by itself, in pieces of the context, for each of its bytes."""
    bits, size = 0.0, 0
    for text in texts:
        line = [tokenizer.end, *tokenizer.encode(text), tokenizer.end]
        size += len(text.encode())
        for start in range(0, len(line) - 1, model.context):
            piece = line[start:start + model.context + 1]
            logits = forward(model, piece[:-1], Cache(model), watch).astype(np.float64)
            logits -= logits.max(1, keepdims=True)
            right = logits[np.arange(len(piece) - 1), piece[1:]]
            bits -= float((right - np.log(np.exp(logits).sum(1))).sum()) / np.log(2)
    return bits / size


def ranges(model: LanguageModel, tokenizer: Tokenizer, texts: list[str]) -> dict[str, tuple[float, float, float]]:
    """Least and greatest value and root of the mean square of each tensor."""
    seen: dict[str, list[tuple[float, float, float, int]]] = defaultdict(list)

    def watch(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        finite = x[np.isfinite(x)]
        seen[name].append((float(finite.min()), float(finite.max()), float((finite ** 2).sum()), finite.size))
        return x

    bits_per_byte(model, tokenizer, texts, watch)
    return {name: (min(low), max(high), (sum(squares) / sum(sizes)) ** 0.5)
            for name, rows in seen.items() for low, high, squares, sizes in [tuple(zip(*rows, strict=True))]}


def rounding(limits: dict[str, tuple[float, float, float]]) -> Watch:
    """Rounds tensors to int8 with a scale and zero point of the tensor, residual sums to int16; what is out of range
    is clamped.
    """
    step = max(max(-low, high) for name, (low, high, _) in limits.items() if name.endswith(RESIDUAL)) / 32767

    def watch(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        if name.endswith(WIDE):
            return x
        if name.endswith(RESIDUAL):
            return (np.clip(np.rint(x / step), -32768, 32767) * step).astype(np.float32)
        low, high = min(limits[name][0], 0.0), max(limits[name][1], 0.0)
        scale = (high - low) / 255
        zero = round(-128 - low / scale)
        return ((np.clip(np.rint(x / scale) + zero, -128, 127) - zero) * scale).astype(np.float32)

    return watch


def main() -> None:
    parser = argparse.ArgumentParser(description="judges model.npz")
    parser.add_argument("--int8", action="store_true", help="activations in int8 too")
    with_int8 = parser.parse_args().int8
    model, tokenizer = load_model(HERE / "model.npz"), load_tokenizer(HERE / "tokenizer.json")
    texts, held_out = split()
    print(f"held out: {bits_per_byte(model, tokenizer, held_out):.4f} bits per byte")
    limits = ranges(model, tokenizer, texts[::len(texts) // CALIBRATION])
    print(f"\n{'tensor':26} {'least':>9} {'greatest':>9} {'rms':>9}  largest / rms")
    for name, (low, high, rms) in limits.items():
        print(f"{name:26} {low:9.2f} {high:9.2f} {rms:9.3f}  {max(-low, high) / rms:6.1f}")
    if with_int8:
        judged = bits_per_byte(model, tokenizer, held_out, rounding(limits))
        print(f"\nheld out, activations in int8: {judged:.4f} bits per byte")
    for prompt in PROMPTS:
        print()
        for way, choose in (("greedy", greedy), ("no pair twice", unrepeated(tokenizer)),
                            ("by chance", sampler(0.7, 40, seed=1))):
            written = "".join(complete(predictor(model), tokenizer, prompt, model.context, 60, choose))
            print(f"{way}: [{prompt}]{written}")


if __name__ == "__main__":
    main()
