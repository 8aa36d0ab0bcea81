"""What the tensors of an ordered network need of the memory: who works in place, who is a ring, how long each lives."""

from systolith.gen.emit.places import View, home, item_bytes
from systolith.gen.emit.plan import Network, NodePlan, Piece
from systolith.gen.graph import Add, Feed, Node, Norm, Rescale, Softmax, Transpose


def _reads(order: list[Piece]) -> dict[str, list[tuple[int, int, int]]]:
    """For each tensor its reads: (position in the order, first row, end)."""
    reads: dict[str, list[tuple[int, int, int]]] = {}
    for position, piece in enumerate(order):
        for name, first, end in piece.needs:
            reads.setdefault(name, []).append((position, first, end))
    return reads


def work_in_place(network: Network, plans: list[NodePlan], order: list[Piece]) -> None:
    """Lets operators that work row by row make their output in an input's bytes, where all others have read
    the rows before they are written over."""
    views = network.views
    reads = _reads(order)
    # The host writes 4 bytes at a time: rows next to the one that it brings must not change meanwhile.
    fed = {node.output for node in network.graph.nodes if isinstance(node, Feed)}
    fixed = {*network.fixed, *network.held, *fed, *views, *(view.of for view in views.values())}
    made: dict[str, int] = {}
    for position, piece in enumerate(order):
        made.setdefault(plans[piece.node].output, position)
    for tag, plan in enumerate(plans):
        if not plan.pieces or not _row_by_row(plan.node):
            continue
        writes = [(position, piece.block.y, piece.block.end) for position, piece in enumerate(order)
                  if piece.node == tag]
        # The input that has been there longest is kept anyway: the other one may then be short-lived.
        for name in sorted(set(plan.node.inputs), key=lambda name: made.get(name, -1)):
            if (name not in fixed and plan.node.inputs.count(name) == 1 and _fits(network, name, plan.output)
                    and all(read < write or read == write or end <= a or b <= first
                            for read, first, end in reads[name] for write, a, b in writes)):
                views[name] = View(plan.output, same_rows=True)
                fixed.add(name)
                break


def _row_by_row(node: Node) -> bool:
    """Whether an output row may lie where an input row did: both are read and written in the same order."""
    return isinstance(node, Add | Norm | Softmax) or (isinstance(node, Rescale) and not any(node.padding))


def _fits(network: Network, name: str, output: str) -> bool:
    """Whether the input may lie where the output does; where others read it they expect no gaps."""
    x, out = network.tensor(name), network.tensor(output)
    return x.shape == out.shape and item_bytes(x) == item_bytes(out) and network.whole_pixels(output)


def find_rings(network: Network, plans: list[NodePlan], order: list[Piece]) -> dict[str, int]:
    """Rows that each buffer must hold at a time, of those that need fewer than all."""
    graph, views = network.graph, network.views
    whole = {*graph.inputs, *graph.outputs, *network.streams}  # these are not made, or not read, in stripes
    for name, view in views.items():
        if not view.same_rows:
            whole.add(home(name, views))
    for node in graph.nodes:
        if isinstance(node, Transpose):  # it does not follow rows
            whole.add(home(node.inputs[0], views))
    # For each buffer: the rows written at each position of the order, and the first row read there.
    writes: dict[str, dict[int, tuple[int, int]]] = {}
    reads: dict[str, dict[int, int]] = {}
    for position, piece in enumerate(order):
        name = home(plans[piece.node].output, views)
        writes.setdefault(name, {})[position] = (piece.block.y, piece.block.end)
        for tensor, first, _ in piece.needs:
            seen = reads.setdefault(home(tensor, views), {})
            seen[position] = min(first, seen.get(position, first))
    rings = {}
    for name, written in writes.items():
        height = graph.tensors[name].shape[0]
        if name in whole or name not in reads:
            continue
        oldest, needed = height, {}  # the first row that is read at a position or later
        for position in sorted({*written, *reads[name]}, reverse=True):
            oldest = needed[position] = min(oldest, reads[name].get(position, height))
        rows = newest = 0
        for position in sorted(needed):
            first, end = written.get(position, (0, 0))
            newest = max(newest, end)
            rows = max(rows, newest - needed[position], end - first)
        if rows < height:
            rings[name] = rows
    return rings
