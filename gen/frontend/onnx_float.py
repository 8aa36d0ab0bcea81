"""A float ONNX model as a float graph."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import UserError
from ..float_graph import FloatGraph, FloatReshape
from ..graph import Shape
from . import elementwise, gathers, layers, moves, norms, shapes  # noqa: F401  they enter their handlers
from .builder import Builder, Operation, Unsupported, Value, image_index
from .load import FLOATS, opset, type_name
from .operators import ADVICE, DOMAINS, OPERATORS, OTHERWISE
from .patterns import matched


def import_float(model: onnx.ModelProto, name: str) -> FloatGraph:
    """The float graph. Raises one UserError that lists every node which is not supported, and what would help."""
    b = Builder(opset(model))
    for tensor in model.graph.initializer:
        b.constants[tensor.name] = numpy_helper.to_array(tensor)
    if model.graph.sparse_initializer:
        raise UserError(f"{name} has sparse weights; export them dense")
    entries = [entry for entry in model.graph.input if entry.name not in b.constants]
    numbers, masks = _numbers(model, entries), set(_masks(model, entries))
    inputs = {entry.name: _input(b, entry, entry.name in numbers) for entry in entries if entry.name not in masks}
    if not inputs:
        raise UserError(f"{name} has no input")
    for entry in entries:
        if entry.name in masks:
            b.masks.enter(entry.name, _layout(entry), onnx.helper.tensor_dtype_to_np_dtype(
                entry.type.tensor_type.elem_type))
    problems = _import_nodes(b, model)
    outputs: dict[str, tuple[int, ...]] = {}
    for entry in model.graph.output:
        if entry.name in b.constants:
            problems.append(f"output {entry.name!r} is a constant; leave it out")
        elif entry.name in b.values:
            try:
                outputs[entry.name] = _output(b, entry.name)
            except Unsupported as error:
                problems.append(f"output {entry.name!r}: {error.reason}; {error.advice}")
        elif not problems:
            problems.append(f"nothing makes the output {entry.name!r}; repair the file")
    if problems:
        count = f"{len(problems)} things stand" if len(problems) > 1 else "one thing stands"
        raise UserError(f"{name} cannot be compiled, {count} in the way:\n" + "\n".join(f"- {p}" for p in problems))
    graph = FloatGraph(name, tuple(inputs), tuple(outputs), b.shapes, tuple(b.nodes), inputs, outputs,
                       tuple(b.warnings), b.masks.used)
    graph.check()
    return graph


_NUMBERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


def _numbers(model: onnx.ModelProto, entries: list[onnx.ValueInfoProto]) -> set[str]:
    """Inputs by which a Gather takes rows of a table."""
    found = set()
    for entry in entries:
        if entry.type.tensor_type.elem_type not in _NUMBERS:
            continue
        names = {entry.name}
        for node in model.graph.node:
            if node.op_type in ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze") and node.input[0] in names:
                names.update(node.output)
            if node.op_type == "Gather" and node.input[1] in names:
                found.add(entry.name)
    return found


def _masks(model: onnx.ModelProto, entries: list[onnx.ValueInfoProto]) -> list[str]:
    """Inputs that may be a mask of tokens, beside others that are none: [tokens] or [1, tokens], of integers that take
    no rows of tables, or called so."""
    numbers = _numbers(model, entries)
    possible = [entry.name for entry in entries if entry.name not in numbers
                and 1 <= len(entry.type.tensor_type.shape.dim) <= 2 and math.prod(_layout(entry)[:-1]) == 1
                and (entry.type.tensor_type.elem_type in (*_NUMBERS, onnx.TensorProto.BOOL)
                     or (entry.type.tensor_type.elem_type in FLOATS and "mask" in entry.name))]
    return possible if len(possible) < len(entries) else []


def _input(b: Builder, entry: onnx.ValueInfoProto, number: bool) -> tuple[int, ...]:
    """Enters an input of the network; returns its shape in the file, the batch being 1. `number`: its values are those
    of rows of a table."""
    kind = entry.type.tensor_type
    if kind.elem_type not in FLOATS and not number:
        raise UserError(f"input {entry.name!r} is {type_name(kind.elem_type)}, not float; "
                        "give the network its first float tensor as the input")
    layout = _layout(entry)
    if len(layout) > 1 and layout[0] != 1 and (number or len(layout) > 2):
        raise UserError(f"input {entry.name!r} has a batch of {layout[0]}; export with a batch of 1")
    if number:
        shape: Shape = (math.prod(layout), 1, 1)
        index = np.arange(math.prod(layout)).reshape(layout)
        b.indices.add(entry.name)
    elif len(layout) == 4:
        shape = (layout[2], layout[3], layout[1])
        index = image_index(shape)
    else:
        shape = (math.prod(layout[:-1]), 1, layout[-1])
        index = np.arange(math.prod(layout)).reshape(layout)
    b.shapes[entry.name] = shape
    b.values[entry.name] = Value(entry.name, index)
    return layout


def _layout(entry: onnx.ValueInfoProto) -> tuple[int, ...]:
    """An input's shape in the file, the batch being 1."""
    kind = entry.type.tensor_type
    layout: list[int] = []
    for place, dimension in enumerate(kind.shape.dim):
        if dimension.HasField("dim_value") and dimension.dim_value > 0:
            layout.append(dimension.dim_value)
        elif place == 0:
            layout.append(1)  # a symbolic batch
        else:
            symbol = f" ({dimension.dim_param!r})" if dimension.dim_param else ""
            raise UserError(f"input {entry.name!r} has no fixed size in dimension {place}{symbol}; "
                            "export it with fixed sizes, the batch excepted")
    if not 1 <= len(layout) <= 4:
        raise UserError(f"input {entry.name!r} has {len(layout)} dimensions; 1 to 4 are possible")
    return tuple(layout)


def _operation(node: onnx.NodeProto, number: int) -> Operation:
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return Operation(node.name or f"{node.op_type}_{number}", node.op_type, tuple(node.input), tuple(node.output),
                     attributes)


def _import_nodes(b: Builder, model: onnx.ModelProto) -> list[str]:
    """Imports every node; returns what is not supported, a line each. What nobody reads, since a pattern reads what is
    before it, is not named."""
    problems: list[tuple[Operation, str]] = []
    outputs = {entry.name for entry in model.graph.output}
    for number, node in enumerate(model.graph.node):
        op = _operation(node, number)
        for name in op.outputs:
            b.makers[name], b.reads[name] = op, op.inputs
        try:
            if b.fold(node) or b.masks.follow(node, b.constants, b.opset) or matched(b, op):
                continue
            _check(op, node.domain, outputs)
            missing = [name for name in op.inputs if name and name not in b.values and name not in b.constants]
            if not missing:
                OPERATORS[op.kind].handler(b, op)
            elif missing[0] in b.masks.roots:
                raise Unsupported(f"it reads {missing[0]!r}, which is made of the input {b.masks.roots[missing[0]]!r} "
                                  "and is neither a mask of a softmax nor one of a mean over tokens",
                                  "integers may be such a mask, or numbers of rows of a constant table")
            elif not problems:
                raise Unsupported(f"nothing makes its input {missing[0]!r}", "use first outputs only")
        except Unsupported as error:
            problems.append((op, f"node {op.name!r}, {op.kind}: {error.reason}; {error.advice}"))
        except ValueError as error:  # numpy's, of shapes that disagree
            problems.append((op, f"node {op.name!r}, {op.kind}: its shapes or attributes do not fit ({error}); "
                             "check the file with onnx.checker.check_model(model, full_check=True)"))
    return [text for op, text in problems if _needed(b, outputs, read=op.outputs)]


def _needed(b: Builder, outputs: set[str], read: tuple[str, ...]) -> bool:
    """Something that the network gives is made of one of these values, or nothing at all."""
    reached, todo = set(outputs), list(outputs)
    while todo:
        for name in b.reads.get(todo.pop(), ()):
            if name not in reached:
                reached.add(name)
                todo.append(name)
    everything = {name for op in b.makers.values() for name in op.inputs}
    return any(name in reached or name not in everything for name in read)


def _check(op: Operation, domain: str, outputs: set[str]) -> None:
    """Raises Unsupported where the operator or one of its attributes is not in the table."""
    if domain not in ("", "ai.onnx") and (domain, op.kind) not in DOMAINS:
        raise Unsupported(f"an operator of {domain}", "export with standard ONNX operators")
    entry = OPERATORS.get(op.kind)
    if entry is None:
        last = op.kind == "LogSoftmax" and outputs.intersection(op.outputs)
        reason = "a softmax at the network's end is not computed" if last else "this operator is not supported"
        raise Unsupported(reason, ADVICE.get(op.kind, OTHERWISE))
    unknown = [name for name in op.attributes if name not in entry.attributes]
    if unknown:
        raise Unsupported(f"its attribute {unknown[0]} is not supported", "leave the attribute out")


def _output(b: Builder, name: str) -> tuple[int, ...]:
    """Makes an output of the network under its own name; returns its shape in the file."""
    value = b.values[name]
    layout = value.shape
    tensor = b.shapes[value.tensor]
    if len(layout) == 4:
        source, shape = b.image(value)
    elif np.array_equal(value.index.ravel(), np.arange(value.index.size)):
        shape = (value.index.size // (layout[-1] if layout else 1), 1, layout[-1] if layout else 1)
        source = value.tensor
    elif np.array_equal(value.index.ravel(), image_index(tensor).ravel()):
        # a flattened image: its elements lie as in the image, which is given instead
        source, shape = value.tensor, tensor
        layout = (1, shape[2], shape[0], shape[1])
        b.warnings.append(f"output {name}: given as {list(layout)}, not flattened to {list(value.shape)}; "
                          "the order of the elements is the same")
    else:
        shape = (value.index.size // (layout[-1] if layout else 1), 1, layout[-1] if layout else 1)
        source = b.arranged(value.tensor, value.index, shape)
    if source != name or b.shapes[name] != shape:
        if name in b.shapes:  # what the file calls so is the same in another shape
            source = _rename(b, name, f"{name}:made", source)
        b.shapes[name] = shape
        b.nodes.append(FloatReshape(name, (source,), name, source=f"output {name}"))
    return layout


def _rename(b: Builder, old: str, new: str, source: str) -> str:
    """Gives a tensor another name; returns what `source` is called then."""
    def name(tensor: str) -> str:
        return new if tensor == old else tensor

    b.nodes = [replace(node, inputs=tuple(map(name, node.inputs)), output=name(node.output)) for node in b.nodes]
    b.shapes[new] = b.shapes.pop(old)
    b.values = {key: Value(name(value.tensor), value.index) for key, value in b.values.items()}
    return name(source)
