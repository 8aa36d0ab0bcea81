"""The network in PyTorch, as it is trained: systolith.gen.language.model has the same in numpy, as it is used."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; queries, keys and values have width / heads values a head."""

    vocabulary: int = 1024
    layers: int = 4
    width: int = 192
    heads: int = 6
    hidden: int = 512
    context: int = 256
    epsilon: float = 1e-5
    rotary_base: float = 10000.0


def rotation(shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [context, half a head] of the rotary positions."""
    half = shape.width // shape.heads // 2
    angles = torch.outer(torch.arange(shape.context), shape.rotary_base ** (-torch.arange(half) / half))
    return angles.cos(), angles.sin()


def rotated(x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Heads [..., positions, values] turned by their positions: the first half of the values with the second."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cosines - b * sines, b * cosines + a * sines), -1)


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Causal attention; PyTorch's own is half as fast on a processor, for heads as narrow as these."""
    later = torch.full((query.shape[-2],) * 2, -torch.inf).triu(1)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
    return (scores + later.to(scores.dtype)).softmax(-1) @ value


class Block(nn.Module):
    """Attention over what came before, then a gated MLP; each has its own norm and is added to its input."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.shape, self.dropout = shape, dropout
        for name in ("query", "key", "value", "output"):
            self.add_module(name, nn.Linear(shape.width, shape.width, bias=False))
        self.gate, self.up = (nn.Linear(shape.width, shape.hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)
        self.attention_norm, self.mlp_norm = (nn.RMSNorm(shape.width, shape.epsilon) for _ in range(2))

    def forward(self, x: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
        batch, positions, width = x.shape

        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.view(batch, positions, self.shape.heads, -1).transpose(1, 2)

        y = self.attention_norm(x)
        query, key = (rotated(heads(part(y)), cosines, sines) for part in (self.query, self.key))
        mixed = attention(query, key, heads(self.value(y)))
        x = x + self._dropped(self.output(mixed.transpose(1, 2).reshape(batch, positions, width)))
        y = self.mlp_norm(x)
        return x + self._dropped(self.down(functional.silu(self.gate(y)) * self.up(y)))

    def _dropped(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, self.dropout, self.training)


class Network(nn.Module):
    """Tokens [batch, positions] to logits of the next ones [batch, positions, vocabulary]; the classifier is the
    embedding.
    """

    def __init__(self, shape: Shape, dropout: float = 0) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape, dropout) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, shape.epsilon)
        cosines, sines = rotation(shape)
        self.register_buffer("cosines", cosines, persistent=False)
        self.register_buffer("sines", sines, persistent=False)
        nn.init.normal_(self.embedding.weight, std=width_std(shape))
        for name, parameter in self.blocks.named_parameters():
            if parameter.ndim == 2:
                small = name.endswith(("output.weight", "down.weight"))
                scale = (2 * shape.layers) ** -0.5 if small else 1
                nn.init.normal_(parameter, std=scale * parameter.shape[1] ** -0.5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        positions = tokens.shape[1]
        x = functional.dropout(self.embedding(tokens), self.dropout, self.training)
        for block in self.blocks:
            x = block(x, self.cosines[:positions], self.sines[:positions])
        return functional.linear(self.norm(x), self.embedding.weight)


def width_std(shape: Shape) -> float:
    """Spread of the embedding at the start: logits of about 1."""
    return shape.width ** -0.5
