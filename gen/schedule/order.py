"""In which order the pieces of a network are made."""

from bisect import bisect

from systolith.gen.emit.plan import Network, NodePlan, Piece
from systolith.gen.graph import Pack, Unpack


class Progress:
    """Which rows of which tensors are there."""

    def __init__(self, network: Network, plans: list[NodePlan]) -> None:
        self._network = network
        self._missing: dict[str, list[int]] = {}
        """For each row how many pieces of it are to come."""
        for plan in plans:
            if not plan.output:
                continue
            rows = [0] * network.tensor(plan.output).shape[0]
            for piece in plan.pieces:
                for y in range(piece.block.y, piece.block.end):
                    rows[y] += 1
            self._missing[plan.output] = rows

    def done(self, plan: NodePlan, piece: Piece) -> None:
        """The piece is made."""
        rows = self._missing[plan.output]
        for y in range(piece.block.y, piece.block.end):
            rows[y] -= 1

    def ready(self, piece: Piece) -> bool:
        """Whether all that the piece reads is there."""
        return all(self.rows_there(*rows) for need in piece.needs for rows in self._network.sources(*need))

    def rows_there(self, name: str, first: int, end: int) -> bool:
        """Whether the pieces of a tensor's own have made these rows."""
        return not any(self._missing[name][first:end])


def layer_by_layer(network: Network, plans: list[NodePlan]) -> list[Piece]:
    """The array's operators one after the other; what other units do as soon as its inputs are there, so that they
    work beside the array."""
    progress = Progress(network, plans)
    left = {tag: list(plan.pieces) for tag, plan in enumerate(plans) if plan.pieces}
    order: list[Piece] = []

    def make(piece: Piece) -> None:
        order.append(piece)
        progress.done(plans[piece.node], piece)

    def others() -> None:
        """Makes all that needs no array and can be made."""
        again = True
        while again:
            again = False
            for tag, pieces in left.items():
                while plans[tag].unit != "array" and pieces and progress.ready(pieces[0]):
                    make(pieces.pop(0))
                    again = True
            for tag in [tag for tag, pieces in left.items() if not pieces]:
                del left[tag]

    others()
    while left:
        tag = min(left)
        piece = left[tag].pop(0)
        if not progress.ready(piece):
            raise ValueError(f"{plans[tag].node.name} cannot be made in the network's order")
        make(piece)
        others()
    return order


class _Maker:
    """Makes pieces in an order that is asked for, and before each one what it needs."""

    def __init__(self, network: Network, plans: list[NodePlan]) -> None:
        self._network, self._plans = network, plans
        self._progress = Progress(network, plans)
        self._tags = {plan.output: tag for tag, plan in enumerate(plans) if plan.output}
        self.left = {tag: list(plan.pieces) for tag, plan in enumerate(plans)}
        self.order: list[Piece] = []
        self.eager: list[int] = []
        """Operators whose pieces are made as soon as they can be."""

    def make_next(self, tag: int) -> None:
        """Makes the next piece of an operator, if it is not made on the way."""
        piece = self.left[tag][0]
        for need in piece.needs:
            for source, first, end in self._network.sources(*need):
                while not self._progress.rows_there(source, first, end):
                    self.make_next(self._tags[source])
        if tag not in self.eager:
            self._make(tag)
        for reader in self.eager:
            while self.left[reader] and self._progress.ready(self.left[reader][0]):
                self._make(reader)

    def _make(self, tag: int) -> None:
        self.order.append(self.left[tag].pop(0))
        self._progress.done(self._plans[tag], self.order[-1])


def cascade(network: Network, plans: list[NodePlan], segments: list[range]) -> list[Piece]:
    """One segment of operators after the other; within a segment each piece as late as it can be, only when another
    one needs its rows, so that few rows are kept."""
    maker = _Maker(network, plans)
    for segment in segments:
        maker.eager = [tag for tag in segment if isinstance(plans[tag].node, Pack)]  # rows leave as soon as they can
        for tag in reversed(segment):  # what is read within the segment comes along with the last that needs it
            while maker.left[tag]:
                maker.make_next(tag)
    return maker.order


def spread(network: Network, plans: list[NodePlan], order: list[Piece], lead: int) -> list[Piece]:
    """The order with tensors unpacked `lead` pieces of arithmetic earlier, where their pages are there, and packed as
    much later: so the codec works beside the arithmetic, for more rows in memory."""
    nodes = [plans[piece.node].node for piece in order]
    works = [index for index, piece in enumerate(order) if plans[piece.node].unit in ("array", "depthwise")]
    if not lead or len(works) in (0, len(order)):
        return order
    packed: dict[tuple[str, int], int] = {}
    keys: list[tuple[float, int]] = []
    for index, (node, piece) in enumerate(zip(nodes, order, strict=True)):
        key = float(index)
        at = bisect(works, index)  # so many pieces of arithmetic come before
        if isinstance(node, Pack):
            packed |= {(node.output, row): index for row in range(piece.block.y, piece.block.end)}
            key = works[min(at + lead, len(works)) - 1] + 0.5 if at < len(works) else key
        elif isinstance(node, Unpack) and at:
            there = packed[node.inputs[0], piece.block.end - 1]
            key = min(key, max(works[max(at - lead, 0)] - 0.5, there + 0.25))
        keys.append((key, index))
    maker = _Maker(network, plans)
    for _, index in sorted(keys):
        piece = order[index]
        while piece in maker.left[piece.node]:
            maker.make_next(piece.node)
    return maker.order
