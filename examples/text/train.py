"""Trains the language model; writes model.npz (int8 weights and their scales), tokenizer.json and logits.npz.

Needs PyTorch: `python examples/text/train.py`, on one processor that is free some 20 minutes. The result is in the
repository; nothing else needs this. Whenever it is stopped, model.npz is the best network so far on the held-out texts,
and it goes on where it was when it is started again (build/text/checkpoint.pt).

The network in the repository learnt in several such parts (Python 3.11.7's texts), the rate set back after 2600 steps:
another run gives another one. It needs 2.09 bits for a byte of the held-out texts.
"""

import math
import time
from pathlib import Path

import numpy as np
import torch
from corpus import split
from network import Network, Shape
from numpy.typing import NDArray
from pairs import learn
from record import record
from torch import nn
from torch.nn import functional

from systolith.gen.language.tokenizer import Tokenizer

HERE = Path(__file__).resolve().parent
MODEL, TOKENIZER = HERE / "model.npz", HERE / "tokenizer.json"
CHECKPOINT = Path("build/text/checkpoint.pt")
SEED = 1
STEPS = 4000
WARM_UP = 100
BATCH = 8
DROPOUT = 0.1
MATRICES = {"lr": 0.015, "weight_decay": 0.05}
"""Muon, for the matrices of the blocks: its steps touch all directions alike, which leaves fewer outliers for int8."""
OTHERS = {"lr": 2e-3, "weight_decay": 0.1, "betas": (0.9, 0.98), "fused": True}
"""AdamW, for the embedding and, without decay, the norms."""
LOGIT_PENALTY = 1e-4
REPORT, JUDGE = 50, 200
LARGEST = 127


def stream(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    """All texts as one line of tokens, END before each."""
    return torch.tensor([token for text in texts for token in (tokenizer.end, *tokenizer.encode(text))])


def windows(tokenizer: Tokenizer, texts: list[str], context: int) -> torch.Tensor:
    """Each text by itself as rows of context + 1 tokens, cut where it is longer, filled up with -1."""
    rows = []
    for text in texts:
        line = [*tokenizer.encode(text), tokenizer.end]
        for start in range(0, len(line), context):
            row = [tokenizer.end if start == 0 else line[start - 1], *line[start:start + context]]
            rows.append(row + [-1] * (context + 1 - len(row)))
    return torch.tensor(rows)


def bits(network: nn.Module, rows: torch.Tensor) -> float:
    """Bits that the network needs for the rows of `windows`, ends included."""
    network.eval()
    total = 0.0
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for part in rows[(rows < 0).sum(1).argsort()].split(32):
            part = part[:, :int((part >= 0).sum(1).max())]
            logits = network(part[:, :-1].clamp(min=0)).float()
            total += functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), ignore_index=-1,
                                              reduction="sum").item()
    return total / math.log(2)


def rounded(weight: torch.Tensor) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A matrix as int8 and a scale for each of its rows, the output channels."""
    values = weight.detach().float().numpy()
    scale = (np.abs(values).max(1) / LARGEST).astype(np.float32)
    return np.rint(values / scale[:, None]).astype(np.int8), scale


def export(network: Network, shape: Shape, path: Path) -> None:
    """The network for `systolith.gen.language.model.load_model`: matrices rounded to int8, gains float32."""
    arrays: dict[str, NDArray[np.generic]] = {
        "heads": np.int32(shape.heads), "context": np.int32(shape.context),
        "epsilon": np.float64(shape.epsilon), "rotary_base": np.float64(shape.rotary_base)}
    for name, value in network.state_dict().items():
        name = name.removesuffix(".weight")
        if value.ndim == 2:
            arrays[name], arrays[f"{name}.scale"] = rounded(value)
        else:
            arrays[name] = value.numpy()
    np.savez_compressed(path, **arrays)


def optimisers(network: Network) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for the rest."""
    matrices = [value for value in network.blocks.parameters() if value.ndim == 2]
    gains = [value for value in network.parameters() if value.ndim == 1]
    return [torch.optim.Muon(matrices, **MATRICES),
            torch.optim.AdamW([{"params": [network.embedding.weight]},
                               {"params": gains, "weight_decay": 0}], **OTHERS)]


def train() -> None:
    """STEPS steps; the held-out texts judge every JUDGE of them, and the best network is written."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    texts, held_out = split()
    shape = Shape()
    tokenizer = learn(texts, shape.vocabulary)
    tokenizer.save(TOKENIZER)
    line, rows = stream(tokenizer, texts), windows(tokenizer, held_out, shape.context)
    size = sum(len(text.encode()) for text in held_out)
    network = Network(shape, DROPOUT)
    print(f"{len(line)} tokens, {sum(value.numel() for value in network.parameters())} weights", flush=True)
    both = optimisers(network)
    rates = [group["lr"] for optimiser in both for group in optimiser.param_groups]
    done, best, begin, mean = 0, math.inf, time.monotonic(), 0.0
    parts = [network, *both]
    if CHECKPOINT.exists():
        done, best, states, random = torch.load(CHECKPOINT)
        torch.set_rng_state(random)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
    for step in range(done + 1, STEPS + 1):
        network.train()
        share = min(step / WARM_UP, (STEPS - step) / (STEPS - WARM_UP))
        for group, rate in zip((group for optimiser in both for group in optimiser.param_groups), rates, strict=True):
            group["lr"] = rate * share
        starts = torch.randint(len(line) - shape.context, (BATCH, 1))
        chosen = line[starts + torch.arange(shape.context + 1)]
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(chosen[:, :-1])
        logits = logits.float().flatten(0, 1)
        loss = functional.cross_entropy(logits, chosen[:, 1:].flatten())
        (loss + LOGIT_PENALTY * logits.logsumexp(1).square().mean()).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimiser in both:
            optimiser.step()
            optimiser.zero_grad()
        mean += (loss.item() - mean) / min(step - done, REPORT)
        if step % REPORT == 0:
            print(f"step {step}: loss {mean:.3f}, {time.monotonic() - begin:.0f} s", flush=True)
        if step % JUDGE == 0 or step == STEPS:
            judged = bits(network, rows) / size
            print(f"step {step}: held out {judged:.4f} bits per byte", flush=True)
            if judged < best:
                best = judged
                export(network, shape, MODEL)
            CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
            torch.save((step, best, [part.state_dict() for part in parts], torch.get_rng_state()), CHECKPOINT)


if __name__ == "__main__":
    train()
    record()
