"""Which tensor lies where in the unified memory, and how long."""

from collections.abc import Sequence

from systolith.gen.emit.artefact import Artefact
from systolith.gen.emit.places import Place

from .model import LayerReport, Region, Span, TensorReport

POOL = "pages"
"""The region of packed tensors' pages."""
_NO_PART = ("activations", "total", "capacity")


def regions(artefact: Artefact) -> list[Region]:
    """The parts from address 0 on that are not tensors."""
    out, at = [], 0
    for name, size in artefact.sizes.items():
        if name not in _NO_PART:
            if size:
                out.append(Region(name, at, size))
            at += size
    if artefact.pages:
        out.append(Region(POOL, artefact.pages.address, artefact.pages.limit * artefact.config.page_bytes))
    return out


def tensors(artefact: Artefact, layers: Sequence[LayerReport], spans: Sequence[Span],
            cycles: int | None) -> list[TensorReport]:
    """The tensors that have memory, in order of time; what is only a part of another one's bytes is named with it."""
    made = {*artefact.graph.inputs, *(one.tensor for one in artefact.written)}
    makers = {layer.output: tag for tag, layer in enumerate(artefact.layers)}
    out: list[TensorReport] = []
    for name in sorted(artefact.places, key=lambda name: (-_extent(artefact.places[name]), name not in made)):
        place = artefact.places[name]
        first, last = artefact.lifetimes[name]
        around = next((one for one in out if (one.first, one.last) == (first, last) and one.address <= place.address
                       and place.address + _extent(place) <= one.address + one.bytes), None)
        if around is not None and not (name in made and place.whole_rows):
            around.also.append(name)
            continue
        tensor = artefact.graph.tensors[name]
        out.append(TensorReport(name, makers.get(name, -1), [], list(tensor.shape), tensor.dtype, place.address,
                                _extent(place), place.rows, first, last, around.name if around else ""))
    if cycles is not None:
        _set_cycles(artefact, out, layers, spans, cycles)
    return sorted(out, key=lambda one: (one.first if one.begin is None else one.begin, bool(one.within), one.address))


def _extent(place: Place) -> int:
    """Bytes from a tensor's first to its last."""
    return place.rows * place.row if place.ring else (
        (place.rows - 1) * place.row + (place.width - 1) * place.pixel + place.run)


def _set_cycles(artefact: Artefact, out: Sequence[TensorReport], layers: Sequence[LayerReport], spans: Sequence[Span],
                cycles: int) -> None:
    """From the first write, or the start, to the last result that a layer makes of it, or the end."""
    units: dict[str, list[Span]] = {}
    for span in spans:
        units.setdefault(span.unit, []).append(span)
    writes: dict[str, list[Span]] = {}
    for write in artefact.written:
        if write.number < len(units.get(write.unit, [])):
            writes.setdefault(write.tensor, []).append(units[write.unit][write.number])
    reads: dict[str, list[int]] = {}
    for layer, node in zip(layers, artefact.graph.nodes, strict=False):
        for name in node.inputs:
            reads.setdefault(name, []).append(layer.end or 0)
    for one in out:
        names = [one.name, *one.also]
        done = [span.end for name in names for span in writes.get(name, [])]
        one.begin = min((span.start for name in names for span in writes.get(name, [])), default=0)
        if set(names) & set(artefact.graph.inputs):
            one.begin = 0
        one.end = max([one.begin, *done, *(end for name in names for end in reads.get(name, []))])
        if set(names) & set(artefact.graph.outputs):
            one.end = cycles
    for one in out:  # what no instruction makes itself is there as soon as a part of it
        if not set((one.name, *one.also)) & set(writes):
            parts = [part for part in out if part.within == one.name and part.begin is not None]
            one.begin = min([part.begin or 0 for part in parts], default=one.begin)
