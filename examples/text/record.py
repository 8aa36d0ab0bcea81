"""Writes logits.npz: what PyTorch makes of model.npz for a few tokens, which the tests compare the numpy model with."""

from pathlib import Path

import numpy as np
import torch
from network import Network, Shape

from systolith.gen.language.tokenizer import load_tokenizer

HERE = Path(__file__).resolve().parent
TEXT = "The list of arguments is a sequence of strings, and a missing one is None.\n\nReturn what _call(x) says."
EVERY = 3
"""Logits of every third token are kept."""


def network(path: Path) -> Network:
    """The network of `path`, its weights rounded as they are there."""
    with np.load(path) as file:
        arrays = dict(file)
    result = Network(Shape()).eval()
    state = {}
    for name in result.state_dict():
        short = name.removesuffix(".weight")
        values = torch.from_numpy(arrays[short]).float()
        scale = arrays.get(f"{short}.scale")
        state[name] = values if scale is None else values * torch.from_numpy(scale)[:, None]
    result.load_state_dict(state)
    return result


def record() -> None:
    tokenizer = load_tokenizer(HERE / "tokenizer.json")
    tokens = [tokenizer.end, *tokenizer.encode(TEXT)]
    with torch.no_grad():
        logits = network(HERE / "model.npz")(torch.tensor([tokens]))[0].numpy()
    np.savez_compressed(HERE / "logits.npz", tokens=np.array(tokens, np.int16), every=np.int16(EVERY),
                        logits=logits[::EVERY])


if __name__ == "__main__":
    record()
