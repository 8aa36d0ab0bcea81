"""Resizing: VECTOR instructions for runs of rows and columns that are evenly spaced and weighed alike."""

from dataclasses import dataclass
from functools import partial

from systolith.gen.graph import Resize
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .copy_nodes import identity
from .places import Place
from .plan import Emitter, Network, NodePlan, Part, Piece
from .vector_nodes import LIMITS, add_vector, pixel_fields, scalars


@dataclass(frozen=True)
class Run:
    """Output positions first, first + step, ... (`count` of them) that read input positions source, source + stride,
    ..., and those `gap` further on with `fraction`."""

    first: int
    step: int
    source: int
    stride: int
    count: int
    fraction: int
    gap: int

    @property
    def outputs(self) -> range:
        return range(self.first, self.first + (self.count - 1) * self.step + 1, self.step)

    @property
    def end(self) -> int:
        """After the last input position."""
        return self.source + (self.count - 1) * self.stride + self.gap + 1


def runs_of(table: tuple[tuple[int, int, int], ...]) -> list[Run]:
    """A Resize's table of rows or columns as runs."""
    alike: dict[tuple[int, int], list[tuple[int, int]]] = {}
    seen: dict[int, int] = {}
    for out, (low, high, fraction) in enumerate(table):
        # what repeats an input position is apart: so whole multiples are a few long runs
        repeat = seen[low] = seen.get(low, -1) + 1
        alike.setdefault((fraction << 16 | repeat, high - low), []).append((out, low))
    runs = []
    for (kind, gap), places in alike.items():
        at = 0
        while at < len(places):
            end = at + 1
            step, stride = (b - a for a, b in zip(places[at], places[min(end, len(places) - 1)], strict=True))
            while end < len(places) and (places[end][0] - places[end - 1][0], places[end][1] - places[end - 1][1]) == (
                    step, stride) and max(step, stride) < 256:
                end += 1
            runs.append(Run(places[at][0], max(step, 1), places[at][1], stride, end - at, kind >> 16, gap))
            at = end
    return sorted(runs, key=lambda run: run.first)


def plan_resize(network: Network, tag: int, node: Resize) -> NodePlan:
    """Nearest: copies. Bilinear: rows weighed into int32 values in between, then columns; and where weight times
    multiplier is more than the vector unit's 31 bits, their sums are scaled in a third pass."""
    x, out = network.tensor(node.inputs[0]), network.tensor(node.output)
    rows, columns = runs_of(node.rows), runs_of(node.columns)
    plan = NodePlan(node, "vector", node.output)
    one = 1 << node.bits
    wide = bool(node.bits) and node.multiplier << node.bits >= 1 << 31  # weights times multiplier: a pass of its own
    pixel = 4 * x.shape[2]
    if node.bits:
        plan.scratch = max(run.count for run in rows) * (x.shape[1] + wide * out.shape[1]) * pixel
    zero_in, zero_out = (0, 0) if node.raw else (x.zero_point, out.zero_point)

    def store(e: Emitter, ys: Run, xs: Run, reads: dict[str, int], regions: list, **values: int) -> None:  # type: ignore[type-arg]
        place = e.place(node.output)
        block = Block(ys.first, 0, len(range(ys.first, ys.outputs[-1] + 1)), out.shape[1])
        done = add_vector(e, tag, node.output, block, regions, False, **reads | values, ny=ys.count, nx=xs.count,
                          c=place.at(ys.first, xs.first), c_row=place.row * ys.step, c_pixel=place.pixel * xs.step)
        e.wrote_part(done, node.output, Part(ys.outputs, xs.outputs, range(out.shape[2])))

    def nearest(e: Emitter, ys: Run) -> None:
        for xs in columns:
            store(e, ys, xs, pixel_fields(e, x, ys.source), e.place(x.name).regions(ys.source, ys.end),
                  y_start=ys.source, x_start=xs.source, y_step=ys.stride, x_step=xs.stride, params=identity(e))

    def bilinear(e: Emitter, ys: Run) -> None:
        source, size = e.place(x.name), x.shape[1] * pixel
        low, high = LIMITS["int32"]
        between = Place(e.scratch(tag), size, pixel, x.shape[1], pixel, ys.count)
        lower = source.operand("a", ys.source)["a"]
        e.program.add(
            isa.VECTOR, source.regions(ys.source, ys.end), between.regions(0, ys.count), tag=tag,
            **{**pixel_fields(e, x, ys.source), "source": isa.MEMORY, "operands": 1, "tiles": 1, "wy": 1, "wx": 1,
               "b": (lower + ys.gap * source.row) % (1 << 24), "b_row": source.row, "b_pixel": source.pixel,
               **source.wrap("b"), "y_start": ys.source, "y_step": ys.stride, "x_step": 1, "low": low, "high": high,
               "params": scalars(e, [(zero_in, one - ys.fraction), (zero_in, ys.fraction)], 0),
               "out_type": isa.INT32, "c": between.address, "c_row": size, "c_pixel": pixel, "ny": ys.count,
               "nx": x.shape[1]})
        weighed = partial(_operand, elems=x.shape[2], rows=ys.count)
        scale = {"low": node.low, "high": node.high, "zero_point": zero_out, "rounding": node.rounding}
        sums = Place(between.address + ys.count * size, out.shape[1] * pixel, pixel, out.shape[1], pixel, ys.count)
        for xs in columns:
            weights = one - xs.fraction, xs.fraction
            fields = {**weighed(between), "b": between.address + xs.gap * pixel, "b_row": size, "b_pixel": pixel,
                      "operands": 1, "x_start": xs.source, "x_step": xs.stride}
            if wide:
                e.program.add(
                    isa.VECTOR, between.regions(0, ys.count), sums.regions(0, ys.count), tag=tag,
                    **{**fields, "source": isa.MEMORY, "tiles": 1, "wy": 1, "wx": 1, "y_step": 1, "low": low,
                       "high": high, "params": scalars(e, [(0, weight) for weight in weights], 0),
                       "out_type": isa.INT32, "c": sums.at(0, xs.first), "c_row": sums.row, "c_pixel": pixel * xs.step,
                       "ny": ys.count, "nx": xs.count})
            else:
                store(e, ys, xs, fields, between.regions(0, ys.count), **scale, params=scalars(
                    e, [(0, weight * node.multiplier) for weight in weights], 2 * node.bits + node.shift))
        if wide:
            store(e, ys, Run(0, 1, 0, 1, out.shape[1], 0, 0), weighed(sums), sums.regions(0, ys.count), **scale,
                  params=scalars(e, [(0, node.multiplier)], 2 * node.bits + node.shift))

    emit = bilinear if node.bits else nearest
    for run in rows:
        block = Block(run.first, 0, run.outputs[-1] + 1 - run.first, out.shape[1])
        plan.pieces.append(Piece(tag, block, [(x.name, run.source, run.end)], partial(emit, ys=run)))
    return plan


def _operand(place: Place, elems: int, rows: int) -> dict[str, int]:
    """Fields of an operand of int32 values that are all inside."""
    return {"a": place.address, "a_row": place.row, "a_pixel": place.pixel, "in_type": isa.INT32, "height": rows,
            "width": place.width, "elems": elems, "elems_last": elems}
