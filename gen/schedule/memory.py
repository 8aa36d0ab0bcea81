"""Addresses of tensors in the unified memory: rectangles of life x bytes without overlap, packed by CP-SAT."""

from dataclasses import dataclass

from ortools.sat.python import cp_model

Life = tuple[int, int]
"""From one step to another, both included."""
RECTANGLES = 1500
"""Lives that the solver looks at, at most: of more, those of the buffers with the most count as one each."""


@dataclass(frozen=True)
class Buffer:
    """A tensor that needs `size` bytes, always the same ones, in each of its `lives`, which are in order."""

    name: str
    size: int
    lives: tuple[Life, ...]

    @property
    def first(self) -> int:
        """The first step of all."""
        return self.lives[0][0]

    @property
    def last(self) -> int:
        """The last step of all."""
        return self.lives[-1][1]


def lower_bound(buffers: list[Buffer], align: int) -> tuple[int, int]:
    """The largest number of bytes alive in one step, and that step: no placement needs less."""
    changes: dict[int, int] = {}
    for b in buffers:
        size = -(-b.size // align) * align
        for first, last in b.lives:
            changes[first] = changes.get(first, 0) + size
            changes[last + 1] = changes.get(last + 1, 0) - size
    worst = at = alive = 0
    for step in sorted(changes):
        alive += changes[step]
        if alive > worst:
            worst, at = alive, step
    return worst, at


def _few(buffers: list[Buffer]) -> list[Buffer]:
    """The buffers with no more than RECTANGLES lives in all."""
    left = RECTANGLES
    out = []
    for b in sorted(buffers, key=lambda b: len(b.lives)):
        lives = b.lives if len(b.lives) <= max(1, left // 4) else ((b.first, b.last),)
        left -= len(lives)
        out.append(Buffer(b.name, b.size, lives))
    return out


def _meet(a: Buffer, b: Buffer) -> bool:
    """Whether both are alive in some step."""
    return a.last >= b.first and a.first <= b.last and any(
        x[1] >= y[0] and x[0] <= y[1] for x in a.lives for y in b.lives)


def _first_fit(buffers: list[Buffer], sizes: dict[str, int]) -> dict[str, int]:
    """Largest first, each at the lowest place that is free during its lives: the solver's start."""
    placed: list[tuple[Buffer, int]] = []
    for b in sorted(buffers, key=lambda b: (-sizes[b.name], b.first, b.name)):
        at = 0
        for other, start in sorted(placed, key=lambda item: item[1]):
            if start < at + sizes[b.name] and at < start + sizes[other.name] and _meet(other, b):
                at = max(at, start + sizes[other.name])
        placed.append((b, at))
    return {b.name: at for b, at in placed}


def place(buffers: list[Buffer], align: int, seconds: float = 10.0) -> tuple[dict[str, int], int]:
    """Offsets (multiples of `align`) and the height of the packing, the lowest that CP-SAT finds within `seconds`."""
    if not buffers:
        return {}, 0
    buffers = _few(buffers)
    sizes = {b.name: max(1, -(-b.size // align)) for b in buffers}
    start = _first_fit(buffers, sizes)
    height = max(start[b.name] + sizes[b.name] for b in buffers)
    bound = lower_bound(buffers, align)[0] // align
    if height > bound:
        model = cp_model.CpModel()
        peak = model.new_int_var(bound, height, "peak")
        offsets, times, spaces = {}, [], []
        for b in buffers:
            offset = model.new_int_var(0, height - sizes[b.name], b.name)
            offsets[b.name] = offset
            space = model.new_fixed_size_interval_var(offset, sizes[b.name], f"{b.name} space")
            for first, last in b.lives:
                times.append(model.new_fixed_size_interval_var(first, last - first + 1, f"{b.name} from {first}"))
                spaces.append(space)
            model.add(offset + sizes[b.name] <= peak)
            model.add_hint(offset, start[b.name])
        model.add_no_overlap_2d(times, spaces)
        model.minimize(peak)
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = seconds
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 1
        if solver.solve(model) in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            start = {name: solver.value(offset) for name, offset in offsets.items()}
            height = max(start[b.name] + sizes[b.name] for b in buffers)
    return {name: at * align for name, at in start.items()}, height * align
