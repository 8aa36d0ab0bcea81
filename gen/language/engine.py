"""The language model on an engine: a pass for each token, which reads all weights once; keys and values stay."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.compile import compile_graph
from systolith.gen.errors import UserError
from systolith.gen.graph import Conv2D, Graph
from systolith.gen.passes.shorten import tokens_of
from systolith.gen.passes.step import POSITION, stepped
from systolith.gen.report import Measurement
from systolith.gen.run import Difference, Session
from systolith.rtl.config import Config
from systolith.sim.golden.execute import dequantise

from .model import load_model
from .network import LOGITS, TOKENS, quantised
from .tokenizer import load_tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "text"
"""The trained model, its tokenizer, and the tokens that its activations are calibrated on."""


@cache
def whole_graph(folder: Path = FOLDER) -> Graph:
    """The trained model in integers, for all the tokens that it reads at once."""
    model = load_model(folder / "model.npz")
    return quantised(model, _texts(folder / "calibration.npz", model.context))


class TextEngine:
    """The trained model, quantised, at the begin of a text; called with the next tokens it gives the logits
    [vocabulary] after the last of them: a `Predict`.

    Parameters
    ----------
    engine: one of `ENGINES`. config: the machine. folder: where the model's files are.

    `UserError` where they are not, or the machine cannot run it.
    """

    def __init__(self, engine: str, config: Config, folder: Path = FOLDER, progress: Any = None) -> None:
        self.tokenizer, self.engine = load_tokenizer(folder / "tokenizer.json"), engine
        graph = stepped(whole_graph(folder))
        self.context, vocabulary = tokens_of(graph), graph.tensors[LOGITS].shape[2]
        if vocabulary != self.tokenizer.size:
            raise UserError(f"{folder}: the model has {vocabulary} tokens, the tokenizer {self.tokenizer.size}")
        self.weight_bytes = sum(node.weights.size for node in graph.nodes if isinstance(node, Conv2D))
        """That a pass reads."""
        self.artefact = compile_graph(graph, config)
        self.measurements: list[Measurement] = []
        """Of the passes, where the engine measures or predicts them."""
        self.passes = 0
        self._session = Session(self.artefact, engine, check=True, progress=progress)

    @property
    def bound(self) -> float:
        """Cycles of a pass below which the weights cannot all come in; 0 where they stay in the machine."""
        port = self.artefact.config.external_bytes
        return self.weight_bytes / port if port else 0.0

    @property
    def difference(self) -> Difference | None:
        """Where the engine first disagreed with the golden model."""
        return self._session.difference

    def close(self) -> None:
        """Ends the simulator, if there is one."""
        self._session.close()

    def __call__(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """ValueError where there are none; `UserError` for an unknown one, or one more than the model reads."""
        outputs: dict[str, NDArray[Any]] = {}
        for token in tokens:
            if self.passes == self.context:
                raise UserError(f"the model reads {self.context} tokens at most")
            inputs = {TOKENS: _number(token), POSITION: _number(self.passes)}
            self.passes += 1
            outputs, measured = self._session.infer(inputs, length=self.passes)
            if measured:
                self.measurements.append(measured)
        if not outputs:
            raise ValueError("no token to go on from")
        return dequantise(outputs[LOGITS], self.artefact.graph.tensors[LOGITS]).reshape(-1)


def _number(value: int) -> NDArray[np.int32]:
    return np.full((1, 1, 1), value, np.int32)


def _texts(path: Path, context: int) -> NDArray[np.integer[Any]]:
    """Tokens [texts, context] to calibrate on."""
    try:
        with np.load(path) as file:
            tokens: NDArray[np.integer[Any]] = file["tokens"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} has no tokens to calibrate on: {error}") from None
    if tokens.ndim != 2 or tokens.shape[1] != context or tokens.dtype.kind not in "iu":
        raise UserError(f"{path}: tokens must be integers [texts, {context}], not {tokens.dtype} {list(tokens.shape)}")
    return tokens
