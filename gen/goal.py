"""What a user wants of a compiled network."""

from dataclasses import dataclass

from systolith.gen.errors import UserError

OPTIMISE = ("cycles", "memory", "balanced")
CODECS = ("off", "slots", "pages")
MARGIN = 0.1
"""Pages that are kept beyond those that the samples need, as a part of them."""


@dataclass(frozen=True)
class Goal:
    """What a schedule is to save; raises UserError for values that mean nothing.

    `optimise`: "cycles" makes layer after layer as fast as the machine can, "memory" makes them as cascades of stripes
    that keep few rows of each tensor, and "balanced" allows the geometric mean of what these two need. `memory`: bytes
    of the unified memory that may be used, all by default. A network that needs more is cut into stripes until it fits.
    `codec`: where tensors are that wait for a later part of the network. "off": as they are, also outside where the
    unified memory is too small for them; "slots": packed where they must go outside; "pages": packed in pages on the
    chip, for "cycles" only where all would not fit as it is; then inputs come in row by row. Without `cascades` each
    operator is made by itself. `margin`: pages beyond what the samples need, as a part of them; MARGIN unless given.
    """

    optimise: str = "cycles"
    memory: int | None = None
    codec: str = "off"
    cascades: bool = True
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.optimise not in OPTIMISE:
            raise UserError(f"--optimise must be one of {', '.join(OPTIMISE)}, not {self.optimise!r}")
        if self.memory is not None and self.memory < 1:
            raise UserError(f"--memory must be a number of bytes, at least 1, not {self.memory}")
        if self.codec not in CODECS:
            raise UserError(f"--codec must be one of {', '.join(CODECS)}, not {self.codec!r}")
        if self.margin is not None and self.codec != "pages":
            raise UserError(f"--margin {self.margin:g} is for pages; it needs --codec pages, not {self.codec}")
        if not -1 < self.spare <= 10:
            raise UserError(f"--margin must be a part of the pages that the samples need, above -1 and up to 10, "
                            f"not {self.margin}")

    @property
    def spare(self) -> float:
        """Pages to keep beyond those that the samples need, as a part of them."""
        return MARGIN if self.margin is None else self.margin
