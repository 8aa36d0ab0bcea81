"""How an operator's output is cut into the blocks that one instruction makes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """Output rows y .. y + height - 1, columns x .. x + width - 1."""

    y: int
    x: int
    height: int
    width: int


def _even(total: int, most: int) -> list[tuple[int, int]]:
    """`total` cut into the fewest pieces of at most `most`, as equal as can be: (start, length) of each."""
    count = -(-total // most)
    edges = [total * i // count for i in range(count + 1)]
    return [(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]


def array_blocks(height: int, width: int, accumulator_rows: int) -> list[Block]:
    """Blocks of whole output rows where a row fits the accumulators, else of parts of one row.

    Equal blocks: the array hides a weight tile's loading behind the rows of a block, so no block should be short.
    """
    if width <= accumulator_rows:
        return [Block(y, 0, rows, width) for y, rows in _even(height, accumulator_rows // width)]
    return [Block(y, x, 1, columns) for y in range(height) for x, columns in _even(width, accumulator_rows)]


def vector_blocks(height: int, width: int, pieces: int = 4) -> list[Block]:
    """Up to `pieces` blocks of whole rows, so that the next operator can start before the last row is there."""
    return [Block(y, 0, rows, width) for y, rows in _even(height, -(-height // min(pieces, height)))]
