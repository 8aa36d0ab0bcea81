"""Sentences to vectors: MiniLM on an engine, beside the float network that it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.gen.compile import compile_graph
from systolith.gen.errors import UserError
from systolith.gen.float_graph import float_execute
from systolith.gen.passes.shorten import float_shortened, shortened, tokens_of
from systolith.gen.run import Session, check_engine
from systolith.gen.samples import sequence_length
from systolith.gen.zoo.minilm import minilm
from systolith.rtl.config import Config
from systolith.sim.golden.execute import dequantise, execute, quantise_input

from .trained import vocabulary
from .wordpiece import WordPiece

Array = NDArray[Any]


@dataclass(frozen=True)
class Encoded:
    """A sentence and its vector, of length 1."""

    text: str
    ids: list[int]
    """Numbers of its tokens"""
    pieces: list[str]
    embedding: NDArray[np.float32]
    real: NDArray[np.float32]
    """The float network's"""
    cycles: int | None = None
    """Where the engine counts them"""

    @property
    def cosine(self) -> float:
        """Of the vector and the float network's."""
        return float(self.embedding @ self.real)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {"text": self.text, "ids": self.ids, "tokens": self.pieces, "embedding": self.embedding.tolist(),
                "float_embedding": self.real.tolist(), "cosine_to_float": self.cosine, "cycles": self.cycles}


class SentenceEncoder:
    """all-MiniLM-L6-v2 on an engine.

    Parameters
    ----------
    engine: one of `ENGINES`. config: the machine, for all engines but `golden`. tokens: that the network has; sentences
    may be shorter.
    """

    def __init__(self, engine: str = "golden", config: Config | None = None, tokens: int | None = None,
                 progress: Any = None) -> None:
        check_engine(engine)
        self.tokenizer = WordPiece(vocabulary())
        self.float_graph, self.graph = minilm.float_graph(tokens), minilm(tokens)
        self._session: Session | None = None
        if engine != "golden":
            if config is None:
                raise ValueError(f"the engine {engine} needs a machine")
            self._session = Session(compile_graph(self.graph, config), engine, progress=progress)

    def close(self) -> None:
        """Ends the simulators, if there are any."""
        if self._session:
            self._session.close()

    def tokens(self, text: str) -> list[int]:
        """Numbers of the text's tokens; `UserError` where there are more than the network takes."""
        ids, most = self.tokenizer(text), tokens_of(self.graph)
        if len(ids) > most:
            shown = text if len(text) <= 40 else f"{text[:40]}..."
            raise UserError(f"{shown!r} has {len(ids)} tokens; {self.graph.name} was made for {most} at most: shorten "
                            "it")
        return ids

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The vectors of sentences."""
        every = [self.tokens(text) for text in texts]  # all, before the first takes its time
        found = []
        for text, ids in zip(texts, every, strict=True):
            embedding, cycles = self.embed(np.array(ids, np.int32))
            found.append(Encoded(text, ids, [self.tokenizer.words[number] for number in ids], embedding,
                                 self.real(ids), cycles))
        return found

    def embed(self, input_ids: Array, attention_mask: Array | None = None) -> tuple[NDArray[np.float32], int | None]:
        """The vector of numbers of tokens, and cycles where the engine counts them.

        input_ids: as many as there are, or as the network has, with an attention_mask of ones for those that count.
        `UserError` for a number that no token has, too many of them, or a mask that does not fit.
        """
        given, most = np.asarray(input_ids), tokens_of(self.graph)
        if given.ndim == 0 or given.size != given.shape[-1]:
            raise UserError(f"the numbers of tokens have the shape {list(given.shape)}; give one sentence at a time, "
                            "[tokens] or [1, tokens]")
        ids = given.reshape(-1)
        if not 1 <= len(ids) <= most:
            raise UserError(f"there are {len(ids)} tokens; {self.graph.name} was made for 1 to {most}")
        length = len(ids) if attention_mask is None else sequence_length(attention_mask, len(ids))
        ids, (name,) = ids[:length], self.graph.inputs
        short = shortened(self.graph, length)
        rows = quantise_input(short, name, ids.reshape(short.input_layouts[name]))
        cycles, (output,) = None, self.graph.outputs
        if self._session:
            outputs, measurement = self._session.infer({name: rows}, length=length)
            cycles = measurement.cycles if measurement else None
        else:
            outputs = execute(short, {name: rows})
        return _unit(dequantise(outputs[output], self.graph.tensors[output]).reshape(-1)), cycles

    def real(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """The float network's vector."""
        (name,), (output,) = self.graph.inputs, self.graph.outputs
        rows = np.array(ids, np.float32).reshape(-1, 1, 1)
        return _unit(float_execute(float_shortened(self.float_graph, len(ids)), {name: rows})[output].reshape(-1))


def _unit(vector: Array) -> NDArray[np.float32]:
    """The same direction with a length of 1: int16 leaves it a few millionths off."""
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
