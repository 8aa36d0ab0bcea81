"""In which order the pieces of a network are made."""

from systolith.gen.emit.plan import Network, NodePlan, Piece
from systolith.gen.graph import Pack


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


def cascade(network: Network, plans: list[NodePlan], segments: list[range]) -> list[Piece]:
    """One segment of operators after the other; within a segment each piece as late as it can be, only when another
    one needs its rows, so that few rows are kept."""
    progress = Progress(network, plans)
    left = {tag: list(plan.pieces) for tag, plan in enumerate(plans)}
    tags = {plan.output: tag for tag, plan in enumerate(plans) if plan.output}
    order: list[Piece] = []
    packs: list[int] = []

    def make(tag: int) -> None:
        order.append(left[tag].pop(0))
        progress.done(plans[tag], order[-1])

    def make_next(tag: int) -> None:
        """Makes the next piece of an operator, and before it what it needs."""
        piece = left[tag][0]
        for need in piece.needs:
            for source, first, end in network.sources(*need):
                while not progress.rows_there(source, first, end):
                    make_next(tags[source])
        if tag not in packs:
            make(tag)
        for reader in packs:  # rows leave as soon as they can
            while left[reader] and progress.ready(left[reader][0]):
                make(reader)

    for segment in segments:
        packs[:] = [tag for tag in segment if isinstance(plans[tag].node, Pack)]
        for tag in reversed(segment):  # what is read within the segment comes along with the last that needs it
            while left[tag]:
                make_next(tag)
    return order
