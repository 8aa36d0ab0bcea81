"""Addresses of tensors in the unified memory: rectangles of lifetime x bytes without overlap, packed by CP-SAT."""

from dataclasses import dataclass

from ortools.sat.python import cp_model


@dataclass(frozen=True)
class Buffer:
    """A tensor that needs `size` bytes from step `first` to step `last`, both included."""

    name: str
    size: int
    first: int
    last: int


def lower_bound(buffers: list[Buffer], align: int) -> tuple[int, int]:
    """The largest number of bytes alive in one step, and that step: no placement needs less."""
    worst, at = 0, 0
    for step in sorted({b.first for b in buffers}):
        alive = sum(-(-b.size // align) * align for b in buffers if b.first <= step <= b.last)
        if alive > worst:
            worst, at = alive, step
    return worst, at


def _first_fit(buffers: list[Buffer], sizes: dict[str, int]) -> dict[str, int]:
    """Largest first, each at the lowest place that is free during its life: the solver's start."""
    placed: list[tuple[Buffer, int]] = []
    for b in sorted(buffers, key=lambda b: (-sizes[b.name], b.first, b.name)):
        at = 0
        for other, start in sorted(placed, key=lambda item: item[1]):
            if other.last >= b.first and other.first <= b.last and start < at + sizes[b.name]:
                at = max(at, start + sizes[other.name])
        placed.append((b, at))
    return {b.name: at for b, at in placed}


def place(buffers: list[Buffer], align: int, seconds: float = 10.0) -> tuple[dict[str, int], int]:
    """Offsets (multiples of `align`) and the height of the packing, the lowest that CP-SAT finds within `seconds`."""
    if not buffers:
        return {}, 0
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
            times.append(model.new_fixed_size_interval_var(b.first, b.last - b.first + 1, f"{b.name} life"))
            spaces.append(model.new_fixed_size_interval_var(offset, sizes[b.name], f"{b.name} space"))
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
