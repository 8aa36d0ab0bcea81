"""Text that a language model writes on, token by token, whoever computes the logits."""

import codecs
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from systolith.gen.errors import UserError

from .model import Cache, LanguageModel, forward
from .tokenizer import Tokenizer

Predict = Callable[[Sequence[int]], NDArray[np.generic]]
"""The next tokens of a text to the logits [vocabulary] after the last of them."""
Choose = Callable[[NDArray[np.generic]], int]
"""Logits to the token to go on with."""


def predictor(model: LanguageModel) -> Predict:
    """The model in floating point, at the begin of a text."""
    cache = Cache(model)
    return lambda tokens: forward(model, tokens, cache)[-1]


def greedy(logits: NDArray[np.generic]) -> int:
    """The most probable token, of equal ones the first."""
    return int(np.argmax(logits))


def sampler(temperature: float, most: int, seed: int) -> Choose:
    """Chooses by chance among the `most` most probable tokens; a low temperature prefers the first of them."""
    random = np.random.default_rng(seed)

    def choose(logits: NDArray[np.generic]) -> int:
        order = np.argsort(-logits.astype(np.float64), kind="stable")[:most]
        shares = np.exp((logits[order].astype(np.float64) - float(logits[order[0]])) / temperature)
        return int(random.choice(order, p=shares / shares.sum()))

    return choose


def unrepeated(tokenizer: Tokenizer, length: int = 2) -> Choose:
    """Chooses the most probable token that does not end a run of `length` tokens that it has chosen before.

    Within a word it is always the most probable one: only behind a token that ends in a space or line it looks back.
    """
    if length < 2:
        raise ValueError(f"length must be at least 2, not {length}")
    chosen: list[int] = []
    follow: dict[tuple[int, ...], list[int]] = {}

    def choose(logits: NDArray[np.generic]) -> int:
        before = tuple(chosen[1 - length:])
        allowed = logits.astype(np.float64)
        if before and tokenizer.text_bytes(before[-1]).endswith((b" ", b"\n")):
            allowed[follow.get(before, [])] = -np.inf
        token = greedy(allowed)
        if len(before) == length - 1:
            follow.setdefault(before, []).append(token)
        chosen.append(token)
        return token

    return choose


def generate(predict: Predict, prompt: Sequence[int], end: int, count: int, choose: Choose = greedy) -> Iterator[int]:
    """At most `count` tokens that follow the prompt, until the model says END; each is yielded as soon as it is there.

    predict: at the begin of a text. prompt: at least one token, usually END and the tokens of a text.
    """
    tokens: Sequence[int] = prompt
    for _ in range(count):
        token = choose(predict(tokens))
        if token == end:
            return
        yield token
        tokens = [token]


def complete(predict: Predict, tokenizer: Tokenizer, prompt: str, context: int, count: int | None = None,
             choose: Choose = greedy) -> Iterator[str]:
    """The text that follows the prompt, in parts of whole characters as tokens come.

    count: tokens at most, else as many as the context takes. UserError where the context cannot take the prompt.
    """
    tokens = [tokenizer.end, *tokenizer.encode(prompt)]
    room = context + 1 - len(tokens)  # the last token is never read
    if room < 1:
        raise UserError(f"the prompt has {len(tokens) - 1} tokens, and the model reads {context - 1} at most")
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in generate(predict, tokens, tokenizer.end, room if count is None else min(count, room), choose):
        if text := decoder.decode(tokenizer.text_bytes(token)):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text
