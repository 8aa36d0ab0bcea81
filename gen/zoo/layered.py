"""Networks of integer layers, made by `Builder`."""

from collections.abc import Callable
from dataclasses import dataclass

from systolith.gen.errors import UserError
from systolith.gen.graph import Graph, Shape, Tensor
from systolith.rtl.isa import SINGLE

from .builder import Builder
from .network import Network


@dataclass(frozen=True)
class Layered(Network):
    """A network of convolutions and their like, of images or of one vector.

    The weights depend on the seed alone; biases and multipliers on the size too, up to `measured`.
    """

    name: str
    what: str
    layers: Callable[[Builder], tuple[str, ...]]
    """Adds the layers to a builder; the names of the outputs."""
    shape: Shape
    scale: float = 1 / 128
    """Of the input, with its zero point."""
    zero_point: int = 0
    step: int = 0
    """Other sizes of square images are multiples of this, at least two; 0: there is one size."""
    measured: int = 160
    """Larger images are this large while the constants are made."""
    samples: int = 4
    """Inputs that are run while the constants are made."""
    rounding: int = SINGLE
    """Of the convolutions."""

    def __call__(self, size: int | None = None, seed: int = 1) -> Graph:
        """The graph, for images of `size` x `size` where it is given; `UserError` for a size that it cannot have."""
        shape = self._shape(size)
        side = min(shape[0], self.measured)
        sample = (self.samples, side, side, shape[2]) if self.step else (self.samples, *shape)
        name = self.name if shape == self.shape else f"{self.name}@{size}"
        return self._build(Builder(name, self._input(shape), rounding=self.rounding, seed=seed, sample=sample))

    def outline(self, size: int | None = None) -> Graph:
        """The graph with weights of 0: its shapes, MACs and parameters, at once."""
        return self._build(Builder(self.name, self._input(self._shape(size)), rounding=self.rounding))

    @property
    def sizes(self) -> str:
        return f"multiples of {self.step}" if self.step else ""

    def _shape(self, size: int | None) -> Shape:
        if size is None:
            return self.shape
        if not self.step:
            raise UserError(f"{self.name} has one size; leave out @{size}")
        if size % self.step or size < 2 * self.step:
            raise UserError(f"{self.name}: images must be a multiple of {self.step} high and wide, "
                            f"at least {2 * self.step}, not {size}")
        return (size, size, self.shape[2])

    def _input(self, shape: Shape) -> Tensor:
        return Tensor("input", shape, "int8", self.scale, self.zero_point)

    def _build(self, builder: Builder) -> Graph:
        return builder.graph(*self.layers(builder))
