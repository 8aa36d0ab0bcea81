"""A program under construction: instructions in order, with the semaphores that make each wait for what it reads."""

from dataclasses import dataclass, field

from systolith.rtl import isa
from systolith.rtl.isa import Instruction, InstructionType

# Semaphores, each given by one unit and taken by one other.
WEIGHT_READY, WEIGHT_FREE, VECTOR_TO_ARRAY, VECTOR_TO_VECTOR = 1, 2, 3, 4
_MOST = 4095  # what one wait can take


@dataclass
class Program:
    """Collects instructions. Each VECTOR gives one to both of its semaphores when its output is in memory; who reads
    that output takes as many as bring its own count up to that VECTOR, since a unit finishes its work in order."""

    instructions: list[Instruction] = field(default_factory=list)
    vectors: int = 0
    """VECTOR instructions so far."""
    _taken: dict[int, int] = field(default_factory=lambda: {VECTOR_TO_ARRAY: 0, VECTOR_TO_VECTOR: 0})
    _writers: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)

    def add(self, kind: InstructionType, **values: int) -> None:
        self.instructions.append(kind(**values))

    def made(self, tensor: str, first_row: int, rows: int) -> None:
        """The last VECTOR makes these rows of the tensor."""
        self._writers.setdefault(tensor, []).append((first_row, first_row + rows, self.vectors - 1))

    def alias(self, name: str, of: str) -> None:
        """`name` is ready when the whole of `of` is."""
        last = max((index for _, _, index in self._writers.get(of, [])), default=None)
        if last is not None:
            self._writers[name] = [(0, 1 << 30, last)]

    def last_writer(self, tensor: str) -> int:
        """Number of the VECTOR after which the tensor is complete; -1 for what the host wrote."""
        return max((index for _, _, index in self._writers.get(tensor, [])), default=-1)

    def wait(self, semaphore: int, needs: list[tuple[str, int, int]]) -> dict[str, int]:
        """Fields of an instruction that reads rows [first, end) of tensors: wait for the VECTORs that make them."""
        last = max((index for tensor, first, end in needs for a, b, index in self._writers.get(tensor, [])
                    if a < end and first < b), default=-1)
        count = last + 1 - self._taken[semaphore]
        if count <= 0:
            return {}
        self._taken[semaphore] = last + 1
        if count > 2 * _MOST:
            raise ValueError(f"{count} vector instructions between two waits; at most {2 * _MOST} can be waited for")
        fields = {"wait0": semaphore, "wait0_count": min(count, _MOST)}
        if count > _MOST:
            fields |= {"wait1": semaphore, "wait1_count": count - _MOST}
        return fields

    def vector(self, **values: int) -> None:
        """A VECTOR instruction that signals its end."""
        self.add(isa.VECTOR, signal0=VECTOR_TO_ARRAY, signal0_count=1, signal1=VECTOR_TO_VECTOR, signal1_count=1,
                 **values)
        self.vectors += 1

    def words(self) -> list[int]:
        """The program as 32-bit words."""
        return [word for instruction in self.instructions for word in instruction.encode()]
