"""The one description of a machine: what its size is, and which sizes can work."""

import dataclasses
import json
import re
import zlib
from dataclasses import dataclass

MULTIPLIERS = ("generic", "ecp5", "ice40")
MOST_PAGES = 8192
"""Pages on the chip, and as many outside, at most."""
ADDRESS_BITS = 24
"""Bits of a byte address in the unified memory: every port and every instruction uses them."""


class ConfigError(ValueError):
    """A configuration that cannot work; the message is one sentence that says why."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class Config:
    """Size of a machine. Immutable; `replace` gives a changed, checked copy.

    Raises `ConfigError` where the numbers cannot make a machine.
    """

    name: str = "edge"
    rows: int = 16
    """Rows of the array: products summed in one column, and input channels taken a cycle."""
    cols: int = 16
    """Columns of the array: output channels made at once."""
    memory_bytes: int = 512 * 1024
    """Unified memory, bytes."""
    banks: int = 8
    """Interleaved single-port banks of the unified memory."""
    word_bytes: int = 16
    """Width of a bank, and of every client's port, bytes."""
    accumulator_rows: int = 512
    """Rows of int32 accumulators in each of the two halves."""
    vector_lanes: int = 16
    """Values that the vector unit takes a cycle."""
    depthwise_lanes: int = -1
    """Multipliers of the depthwise unit: `cols` times a power of two (at most 8); 0: none. Left out: 4 times `cols`."""
    softmax_lanes: int = 4
    """Values of a row that the softmax unit takes a cycle, a power of two up to word_bytes; 0: none."""
    norm_lanes: int = -1
    """Elements of a row that the norm unit takes a cycle, a power of two up to word_bytes / 2; 0: none. Left out: 4, or
    word_bytes / 4 where that is less: memory then gives and takes twice what the unit needs."""
    external_bytes: int = 8
    """Bytes a cycle of the external memory port; 0: the machine has none."""
    queue_words: int = 64
    """Depth of a unit's instruction queue, 32-bit words."""
    codec_lanes: int = 8
    """Values a cycle of the codec that packs activations into pages and unpacks them: 0 (none), 2, 4 or 8."""
    page_bytes: int = 256
    """Bytes of a page of packed activations, a power of two."""
    outside_pages: int = 8192
    """Pages that may lie in external memory, where there is one."""
    instruction_slots: int = 16
    """Instructions of each unit that the sequencer keeps, for the compact form of later ones; a power of two up to
    16."""
    multiplier: str = "generic"
    """DSP back end of the array: generic, ecp5 or ice40."""
    activation_products: int = 1
    """1: the array can multiply activations with activations (weights from any tensor, inputs less their zero point, 9
    bits of them); 0: with weights only, as it must be with multiplier ice40."""
    watchdog_cycles: int = 65536
    """Cycles without progress of any unit after which a running machine stops with an error."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Za-z0-9_]{1,64}", self.name):
            raise ConfigError(f"name must be up to 64 letters, digits and _ (files and modules carry it), "
                              f"not {self.name!r}")
        for name in ("rows", "cols"):
            if not 1 <= getattr(self, name) <= 128:
                raise ConfigError(f"{name} must be from 1 to 128, not {getattr(self, name)}")
        for name in ("banks", "word_bytes", "vector_lanes", "accumulator_rows"):
            if not _power_of_two(getattr(self, name)):
                raise ConfigError(f"{name} must be a power of two, not {getattr(self, name)}")
        if self.banks < 2:
            raise ConfigError(f"banks must be at least 2 (a word may lie across two), not {self.banks}")
        if self.depthwise_lanes == -1:
            object.__setattr__(self, "depthwise_lanes", 4 * self.cols)
        if self.depthwise_lanes not in (0, *(self.cols << k for k in range(4))):
            raise ConfigError(f"depthwise_lanes must be 0 or cols ({self.cols}) times 1, 2, 4 or 8, "
                              f"not {self.depthwise_lanes}")
        if self.word_bytes < 4:
            raise ConfigError(f"word_bytes must be at least 4, not {self.word_bytes}")
        if self.word_bytes < max(self.rows, self.cols):
            raise ConfigError(f"word_bytes must be at least rows and cols ({max(self.rows, self.cols)}), "
                              f"not {self.word_bytes}")
        if self.vector_lanes > self.word_bytes:
            raise ConfigError(f"vector_lanes must be at most word_bytes ({self.word_bytes}), not {self.vector_lanes}")
        if self.softmax_lanes and not (_power_of_two(self.softmax_lanes) and self.softmax_lanes <= self.word_bytes):
            raise ConfigError(f"softmax_lanes must be 0 or a power of two up to word_bytes ({self.word_bytes}), "
                              f"not {self.softmax_lanes}")
        if self.norm_lanes == -1:
            object.__setattr__(self, "norm_lanes", min(4, self.word_bytes // 4))
        if self.norm_lanes and not (_power_of_two(self.norm_lanes) and self.norm_lanes <= self.word_bytes // 2):
            raise ConfigError(f"norm_lanes must be 0 or a power of two up to half of word_bytes "
                              f"({self.word_bytes // 2}), not {self.norm_lanes}")
        row = self.banks * self.word_bytes
        if self.memory_bytes % row or not 2 * row <= self.memory_bytes <= 1 << ADDRESS_BITS:
            raise ConfigError(f"memory_bytes must be a multiple of banks x word_bytes ({row}) from {2 * row} to "
                              f"{1 << ADDRESS_BITS}, not {self.memory_bytes}")
        if not 4 <= self.accumulator_rows <= 65536:
            raise ConfigError(f"accumulator_rows must be from 4 to 65536, not {self.accumulator_rows}")
        if self.external_bytes and not (_power_of_two(self.external_bytes)
                                        and 1 <= self.external_bytes <= self.word_bytes):
            raise ConfigError(f"external_bytes must be 0 or a power of two up to word_bytes ({self.word_bytes}), "
                              f"not {self.external_bytes}")
        if self.codec_lanes not in (0, 2, 4, 8):
            raise ConfigError(f"codec_lanes must be 0, 2, 4 or 8, not {self.codec_lanes}")
        if self.codec_lanes > self.word_bytes:
            raise ConfigError(f"codec_lanes must be at most word_bytes ({self.word_bytes}), not {self.codec_lanes}")
        if self.codec_lanes and self.external_bytes > 8:
            raise ConfigError(f"external_bytes must be at most 8 where there is a codec (codec_lanes=0: none), "
                              f"not {self.external_bytes}")
        if not (_power_of_two(self.page_bytes) and max(64, self.word_bytes) <= self.page_bytes <= 4096):
            raise ConfigError(f"page_bytes must be a power of two from {max(64, self.word_bytes)} to 4096, "
                              f"not {self.page_bytes}")
        if not 0 <= self.outside_pages <= MOST_PAGES:
            raise ConfigError(f"outside_pages must be from 0 to {MOST_PAGES}, not {self.outside_pages}")
        if self.queue_words < 32:
            raise ConfigError(f"queue_words must hold the longest instruction (32), not {self.queue_words}")
        if not (_power_of_two(self.instruction_slots) and self.instruction_slots <= 16):
            raise ConfigError(f"instruction_slots must be a power of two up to 16, not {self.instruction_slots}")
        if self.multiplier not in MULTIPLIERS:
            raise ConfigError(f"multiplier must be one of {', '.join(MULTIPLIERS)}, not {self.multiplier!r}")
        if self.activation_products not in (0, 1):
            raise ConfigError(f"activation_products must be 0 or 1, not {self.activation_products}")
        if self.activation_products and self.multiplier == "ice40":
            raise ConfigError("activation_products must be 0 with multiplier ice40 (it has no ninth bit), not 1")
        if self.watchdog_cycles < 1024:
            raise ConfigError(f"watchdog_cycles must be at least 1024, not {self.watchdog_cycles}")

    @property
    def macs(self) -> int:
        """Multipliers of the array: multiply-accumulates a cycle at best."""
        return self.rows * self.cols

    @property
    def weight_tile_bytes(self) -> int:
        """Bytes of one weight tile in memory: `rows` rows of `word_bytes` (columns past `cols` are padding)."""
        return self.rows * self.word_bytes

    @property
    def clips(self) -> bool:
        """Whether the machine has the register LENGTH, to which instructions are clipped: where it has units for
        transformers."""
        return bool(self.softmax_lanes or self.norm_lanes)

    @property
    def semaphores(self) -> int:
        """Semaphores that the machine has."""
        return 32 if self.codec_lanes else 16

    @property
    def pages(self) -> int:
        """Pages that may be on the chip: as many as the unified memory holds, up to MOST_PAGES."""
        return min(self.memory_bytes // self.page_bytes, MOST_PAGES)

    @property
    def hash(self) -> int:
        """32 bits that tell configurations apart; the name does not count."""
        values = dataclasses.asdict(self)
        del values["name"]
        return zlib.crc32(json.dumps(values, sort_keys=True).encode())

    def replace(self, **changes: object) -> "Config":
        """A copy with `changes`; values given as text are converted to the field's type."""
        fields = {f.name: f.type for f in dataclasses.fields(self)}
        clean: dict[str, object] = {}
        for key, value in changes.items():
            if key not in fields:
                raise ConfigError(f"a configuration has no {key!r}; it has {', '.join(fields)}")
            if fields[key] is int and isinstance(value, str):
                try:
                    value = int(value, 0)
                except ValueError:
                    raise ConfigError(f"{key} must be a whole number, not {value!r}") from None
            if fields[key] is int and (not isinstance(value, int) or isinstance(value, bool)):
                raise ConfigError(f"{key} must be a whole number, not {value!r}")
            if fields[key] is str and not isinstance(value, str):
                raise ConfigError(f"{key} must be text, not {value!r}")
            clean[key] = value
        if clean.get("cols", self.cols) != self.cols:  # as many rows side by side as before
            clean.setdefault("depthwise_lanes", self.depthwise_lanes // self.cols * clean["cols"])  # type: ignore
        word_bytes = int(clean.get("word_bytes", self.word_bytes))  # type: ignore[call-overload]
        if word_bytes != self.word_bytes and self.norm_lanes > word_bytes // 4:
            clean.setdefault("norm_lanes", -1)
        if clean.get("multiplier") == "ice40":
            clean.setdefault("activation_products", 0)
        wide = int(clean.get("external_bytes", self.external_bytes)) > 8  # type: ignore[call-overload]
        most = 0 if wide else int(clean.get("word_bytes", self.word_bytes))  # type: ignore[call-overload]
        if self.codec_lanes > most:  # the widest codec that there can be
            clean.setdefault("codec_lanes", most if most in (2, 4) else 0)
        return dataclasses.replace(self, **clean)  # type: ignore[arg-type]

    def to_json(self) -> str:
        """Canonical JSON: the same text for the same machine."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Config":
        """The inverse of `to_json`; unknown or missing names are errors that say so."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"the configuration is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError("the configuration must be a JSON object of names and values")
        return cls().replace(**values)
