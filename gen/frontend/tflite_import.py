"""Fully int8-quantised TensorFlow Lite networks to the core graph, exact with LiteRT's reference kernels (BUILTIN_REF).

File tensors are NHWC, which is the core's order, so a file tensor is a core tensor under another shape. Operators that
move or rename values only share a core tensor; QUANTIZE behind an input and DEQUANTIZE before an output are the
network's edges. What is not supported is listed in one UserError.
"""

from collections.abc import Callable, Container
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from systolith.gen.errors import UserError
from systolith.gen.frontend.qdq_values import Refused
from systolith.gen.frontend.tflite_checks import check_kind, check_shapes, needed
from systolith.gen.frontend.tflite_file import DAMAGED, File, FileTensor, Operator
from systolith.gen.graph import Convention, Graph, Node, Reshape, Shape, Tensor, output_shape

Handler = Callable[["Importer", Operator], None]


def import_tflite(file: File) -> Graph:
    """The core graph of a file that `read_file` has read.

    Tensors, inputs and outputs keep the file's names. Raises UserError for a network that is not fully quantised to
    int8, and with all operators that are not supported, a line each.
    """
    return Importer(file).run()


def core_shape(shape: tuple[int, ...]) -> Shape:
    """A file's shape as [height, width, channels]: the last three axes; those before them must be 1."""
    if any(size != 1 for size in shape[:-3]):
        raise Refused(f"has a tensor of shape {list(shape)}; at most three axes behind a batch of 1 are supported")
    full = (1, 1, 1, *shape)
    if 0 in full:
        raise Refused(f"has a tensor without elements: {list(shape)}")
    return full[-3], full[-2], full[-1]


class Unknown(Exception):
    """An operator reads what a refused one would have made and nothing stands in for; it is not named a second time."""


class Importer:
    """Walks the operators of one file in order; `place` says in which core tensor each file tensor lies."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.place: dict[int, str] = {}
        self.tensors: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self.inputs: list[int] = []
        self.problems: list[str] = []
        self.made: set[int] = set()
        self.unknown: set[int] = set()

    def run(self) -> Graph:
        from systolith.gen.frontend.tflite_operators import OPERATORS, unsupported  # which imports this module

        check_kind(self.file)
        check_shapes(self.file)
        for index in self.file.inputs:
            tensor = self.file.tensors[index]
            try:
                if tensor.type in ("INT8", "UINT8"):
                    self.enter(index, tensor)
            except Refused as refused:
                self.unknown.add(index)
                self.problems.append(f"input {tensor.name!r}: {refused}")
        for operator in needed(self.file):
            self._operator(operator, OPERATORS.get(operator.name, unsupported))
        for index in self.file.inputs:
            if index not in self.place and index not in self.unknown:
                tensor = self.file.tensors[index]
                self.problems.append(f"input {tensor.name!r}: is {tensor.type}, and no QUANTIZE makes int8 of it")
        outputs = [self._output(index) for index in self.file.outputs]
        if self.problems:
            raise UserError(f"{self.file.name} has {len(self.problems)} things that cannot be imported:\n  "
                            + "\n  ".join(self.problems))
        return self._finish([name for name in outputs if name is not None])

    def _operator(self, operator: Operator, handler: Handler) -> None:
        """Adds the operator's nodes; one that cannot be imported is noted, and reading goes on behind it."""
        try:
            handler(self, operator)
        except Unknown:
            pass
        except Refused as refused:
            self.problems.append(f"operator {operator.index} ({operator.name}): {refused}")
        except DAMAGED as error:
            self.problems.append(f"operator {operator.index} ({operator.name}): cannot be read ({error}); convert the "
                                 "network again")
        for which, index in enumerate(operator.outputs):  # something stands in for what a refused operator makes
            if index not in self.place:
                try:
                    self.output(operator, which)
                except (Refused, *DAMAGED):
                    self.unknown.add(index)

    # What operators read

    def read(self, operator: Operator, which: int) -> FileTensor:
        """An input of the file; Refused where it is not given."""
        if which >= len(operator.inputs) or operator.inputs[which] < 0:
            raise Refused(f"has no input {which}, which it needs; convert the network again")
        return self.file.tensors[operator.inputs[which]]

    def constant(self, operator: Operator, which: int, what: str) -> NDArray[np.integer]:
        """A constant input."""
        tensor = self.read(operator, which)
        if tensor.data is None:
            raise Refused(f"has {what} that are not a constant of the file, dense and of a known type; convert the "
                          "network with fixed shapes and plain int8 weights")
        return tensor.data

    def source(self, operator: Operator, which: int = 0, kinds: tuple[str, ...] = ("INT8",)) -> Tensor:
        """The core tensor of an input that the network computes."""
        tensor = self.read(operator, which)
        if tensor.data is not None:
            raise Refused(f"reads the constant {tensor.name!r} where an activation belongs")
        if tensor.type not in kinds:
            raise Refused(f"reads {tensor.name!r} as {tensor.type}; quantise the whole network to int8")
        if tensor.index in self.unknown:
            raise Unknown
        if tensor.index not in self.place:
            raise Refused(f"reads {tensor.name!r}, which nothing before it makes")
        return self.tensors[self.place[tensor.index]]

    # What operators make

    def output(self, operator: Operator, which: int = 0) -> Tensor:
        """The core tensor of an output, entered under the file's name."""
        tensor = self.file.tensors[operator.outputs[which]]
        core = self.typed(tensor)
        core = replace(core, name=self.unique(core.name, self.tensors))
        self.put(tensor, core.name)
        self.tensors[core.name] = core
        return core

    def put(self, tensor: FileTensor, core: str) -> None:
        """Notes in which core tensor a file tensor that an operator makes lies."""
        if tensor.index in self.made or tensor.index in self.file.inputs or tensor.data is not None:
            raise Refused(f"makes {tensor.name!r} a second time")
        self.made.add(tensor.index)
        self.place[tensor.index] = core

    def typed(self, tensor: FileTensor) -> Tensor:
        """A file tensor as a core tensor; uint8 becomes int8 with the zero point moved by 128."""
        if tensor.type in ("INT32", "INT64"):
            return Tensor(tensor.name, core_shape(tensor.shape), "int32")
        if tensor.type not in ("INT8", "UINT8"):
            raise Refused(f"makes {tensor.name!r} as {tensor.type}; quantise the whole network to int8")
        if tensor.scales.size != 1 or not tensor.scale > 0:
            raise Refused(f"has no scale for {tensor.name!r}, or more than one; quantise activations by tensor")
        zero_point = tensor.zero_point - (128 if tensor.type == "UINT8" else 0)
        if not -128 <= zero_point <= 127:
            raise Refused(f"has the zero point {tensor.zero_point} for {tensor.name!r}, which is no {tensor.type}")
        return Tensor(tensor.name, core_shape(tensor.shape), "int8", tensor.scale, zero_point)

    def between(self, output: Tensor, what: str, **changes: object) -> Tensor:
        """A tensor on the way to `output`, which the file does not have."""
        changed = replace(output, **changes)  # type: ignore[arg-type]
        tensor = replace(changed, name=self.unique(f"{output.name} ({what})", self.tensors))
        self.tensors[tensor.name] = tensor
        return tensor

    def name(self, operator: Operator) -> str:
        """A node's name."""
        return self.unique(f"{operator.name.lower()}_{operator.index}", {node.name for node in self.nodes})

    def add(self, node: Node) -> None:
        """Appends a node; Refused where it makes another shape than the file says."""
        made = output_shape(node, [self.tensors[name] for name in node.inputs])
        said = self.tensors[node.output].shape
        if made is not None and made != said:
            raise Refused(f"makes the shape {list(made)}, where the file says {list(said)}; convert the network again")
        self.nodes.append(replace(node, source=self.tensors[node.output].name))

    def same(self, operator: Operator, x: Tensor, which: int = 0) -> None:
        """The output is `x`, perhaps under another shape or scale: no node, or a Reshape."""
        tensor = self.file.tensors[operator.outputs[which]]
        target = self.typed(tensor)
        if (target.shape, target.scale, target.zero_point) == (x.shape, x.scale, x.zero_point):
            self.put(tensor, x.name)
        else:
            self.same_integers(operator, x, self.output(operator, which))

    def same_integers(self, operator: Operator, x: Tensor, y: Tensor) -> Tensor:
        """Makes `y` of `x`: the same integers under another shape, scale or zero point."""
        if x.elements != y.elements:
            raise Refused(f"makes {list(x.shape)}, where the file says {list(y.shape)}; convert the network again")
        self.add(Reshape(self.name(operator), (x.name,), y.name))
        return y

    @staticmethod
    def unique(name: str, taken: Container[str]) -> str:
        """The name, with a number behind it where it is taken."""
        number, candidate = 1, name
        while candidate in taken:
            number, candidate = number + 1, f"{name}_{number + 1}"
        return candidate

    # Edges

    def enter(self, index: int, tensor: FileTensor) -> Tensor:
        """Makes file tensor `index` an input with the type and scale of `tensor`."""
        if index in self.place:
            known = self.tensors[self.place[index]]
            if (known.scale, known.zero_point) != (self.typed(tensor).scale, self.typed(tensor).zero_point):
                raise Refused(f"gives the input {self.file.tensors[index].name!r} a second scale; quantise it once")
            return known
        name = self.unique(self.file.tensors[index].name, self.tensors)
        core = self.tensors[name] = replace(self.typed(tensor), name=name)
        self.place[index] = name
        self.inputs.append(index)
        return core

    def _output(self, index: int) -> str | None:
        """The core tensor of a file output."""
        tensor = self.file.tensors[index]
        if index in self.place:
            return self.place[index]
        if index in self.unknown:
            return None
        what = "is a constant" if tensor.data is not None else f"is computed as {tensor.type}"
        self.problems.append(f"output {tensor.name!r}: {what}; only what the network computes in int8 can be an output")
        return None

    def _finish(self, outputs: list[str]) -> Graph:
        """The graph, its output tensors under the file's names."""
        wanted: list[str] = []
        renamed: dict[str, str] = {}
        fixed = {self.place[index] for index in self.inputs}
        for core, index in zip(outputs, self.file.outputs, strict=True):
            tensor = self.file.tensors[index]
            if core in fixed or core in renamed:  # an input, or an output already: a copy under the name of its own
                again = self.between(self.tensors[core], "output", shape=core_shape(tensor.shape))
                self.nodes.append(Reshape(self.unique(f"output_{index}", [node.name for node in self.nodes]), (core,),
                                          again.name))
                core = again.name
            taken = (set(self.tensors) - {core} - set(renamed)) | set(renamed.values())
            renamed[core] = self.unique(tensor.name, taken)
            wanted.append(renamed[core])
        names = {old: renamed.get(old, old) for old in self.tensors}
        nodes = tuple(replace(node, inputs=tuple(names[name] for name in node.inputs), output=names[node.output])
                      for node in self.nodes)
        tensors = {names[old]: replace(tensor, name=names[old]) for old, tensor in self.tensors.items()}
        self.place = {index: names[name] for index, name in self.place.items()}
        self.inputs.sort(key=self.file.inputs.index)
        inputs = tuple(self.place[index] for index in self.inputs)
        return self._graph(inputs, tuple(wanted), tensors, nodes)

    def _graph(self, inputs: tuple[str, ...], outputs: tuple[str, ...], tensors: dict[str, Tensor],
               nodes: tuple[Node, ...]) -> Graph:
        files = [*zip(inputs, self.inputs, strict=True), *zip(outputs, self.file.outputs, strict=True)]
        layouts = {name: self.file.tensors[index].shape or (1,) for name, index in files}
        unsigned = tuple(name for name, index in files if self.file.tensors[index].type == "UINT8")
        graph = Graph(self.file.name, inputs, outputs, tensors, nodes, {name: layouts[name] for name in inputs},
                      {name: layouts[name] for name in outputs}, Convention("NHWC", "away", unsigned))
        try:
            graph.check()
        except ValueError as error:
            raise UserError(f"{self.file.name} cannot be imported: {error}; convert the network again") from None
        return graph
