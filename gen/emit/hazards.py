"""Who wrote and who reads each byte of the unified memory, so that an instruction waits for those it depends on."""

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass
class _Segment:
    """A run of bytes with one history: the latest instruction of each unit that wrote it, and that reads it since."""

    writers: dict[str, int] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "_Segment":
        return _Segment(dict(self.writers), dict(self.readers))


class Hazards:
    """History of a memory as a program grows. Units work in order, so the latest instruction of each is enough."""

    def __init__(self) -> None:
        self._starts = [0]
        self._segments = [_Segment()]

    def _split(self, at: int) -> int:
        """Index of the segment that starts at `at`, made by cutting one if need be."""
        index = bisect_right(self._starts, at) - 1
        if self._starts[index] == at:
            return index
        self._starts.insert(index + 1, at)
        self._segments.insert(index + 1, self._segments[index].copy())
        return index + 1

    def read(self, address: int, size: int, unit: str, number: int) -> dict[str, int]:
        """Instruction `number` of `unit` reads these bytes; for each unit the latest instruction that wrote them."""
        found: dict[str, int] = {}
        for segment in self._segments[self._split(address):self._split(address + size)]:
            _latest(found, segment.writers)
            segment.readers[unit] = number
        return found

    def write(self, address: int, size: int, unit: str, number: int, *, partly: bool) -> dict[str, int]:
        """Instruction `number` of `unit` writes these bytes (or only some of them); for each unit the latest
        instruction that read or wrote them."""
        found: dict[str, int] = {}
        first, end = self._split(address), self._split(address + size)
        for segment in self._segments[first:end]:
            _latest(found, segment.writers)
            _latest(found, segment.readers)
            if partly:
                segment.writers[unit] = number
        if not partly:
            self._starts[first:end] = [address]
            self._segments[first:end] = [_Segment({unit: number})]
        return found


def _latest(found: dict[str, int], more: dict[str, int]) -> None:
    for unit, number in more.items():
        found[unit] = max(found.get(unit, -1), number)
