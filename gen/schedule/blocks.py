"""How an operator's output is cut into the blocks that one instruction makes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Output rows y .. y + height - 1, columns x .. x + width - 1."""

    y: int
    x: int
    height: int
    width: int

    @property
    def end(self) -> int:
        """The row after the last."""
        return self.y + self.height


def even(total: int, count: int) -> list[tuple[int, int]]:
    """`total` cut into `count` pieces as equal as can be: (start, length) of each."""
    edges = [total * i // count for i in range(count + 1)]
    return [(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]


def array_blocks(height: int, width: int, accumulator_rows: int, fewest: int, wanted: int) -> list[Block]:
    """Blocks of whole output rows where a row fits the accumulators, else of parts of one row.

    Equal blocks, `wanted` of them if each has at least `fewest` positions: the array hides a weight tile's loading
    behind the rows of a block, so no block should be short.
    """
    if width > accumulator_rows:
        return [Block(y, x, 1, columns) for y in range(height)
                for x, columns in even(width, -(-width // accumulator_rows))]
    needed = -(-height // (accumulator_rows // width))
    useful = min(wanted, height, height * width // fewest)
    return [Block(y, 0, rows, width) for y, rows in even(height, max(needed, useful, 1))]


def row_blocks(height: int, width: int, pieces: int, multiple: int = 1) -> list[Block]:
    """Up to `pieces` blocks of whole rows, of a multiple of `multiple` rows but for the last."""
    groups = -(-height // multiple)
    return [Block(multiple * y, 0, min(multiple * rows, height - multiple * y), width)
            for y, rows in even(groups, min(pieces, groups))]
