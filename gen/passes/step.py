"""A causal network one token at a time: what it makes of earlier tokens stays in the machine."""

from dataclasses import replace

from systolith.gen.errors import UserError
from systolith.gen.graph import (
    Add,
    Append,
    Concat,
    Constant,
    Conv2D,
    Embedding,
    Graph,
    Lookup,
    MatMul,
    Mul,
    Node,
    Norm,
    Rescale,
    Reshape,
    Rotary,
    Shape,
    Slice,
    Softmax,
    Tensor,
    output_shape,
)

POSITION = "position"
"""The input of a step that says which token it is, from 0 on, where the network asks."""
LENGTH = "length"
"""What a step calls the number of tokens with this one."""


def stepped(graph: Graph) -> Graph:
    """The graph for the token behind those before it: row t of a run of the whole graph is the output of step t, whose
    length is t + 1. Each input has the row of one token.

    What a product of two activations reads of all tokens is kept (`Append`); constants with a row for each token become
    tables. UserError where a token's output depends on later ones, or on others in another way.
    """
    tokens = max(graph.tensors[name].shape[0] for name in graph.inputs)
    inputs = list(graph.inputs)
    tensors = {name: _row(graph.tensors[name]) for name in graph.inputs}
    nodes: list[Node] = []
    kept: dict[str, str] = {}

    def keep(name: str) -> str:
        """The tensor with the rows of all tokens."""
        if name not in kept:
            kept[name] = f"{name}.kept"
            tensors[kept[name]] = replace(graph.tensors[name], name=kept[name])
            nodes.append(Append(kept[name], (name,), kept[name], source=f"{name} of all tokens"))
        return kept[name]

    for node in graph.nodes:
        out = graph.tensors[node.output]
        if isinstance(node, Constant) and out.shape[0] == tokens:
            if POSITION not in tensors:
                inputs.append(POSITION)
                tensors[POSITION] = Tensor(POSITION, (1, 1, 1), "int32")
            flat = replace(out, shape=(1, 1, out.shape[1] * out.shape[2]))
            table = node.values.reshape(tokens, -1)
            if out.shape[1] == 1:
                nodes.append(Embedding(node.name, (POSITION,), node.output, table, source=node.source))
            else:
                flat = replace(flat, name=f"{out.name}.flat")
                nodes += [Embedding(flat.name, (POSITION,), flat.name, table, source=node.source),
                          Reshape(node.name, (flat.name,), node.output, source=node.source)]
            tensors |= {flat.name: flat, out.name: _row(out)}
            continue
        if not isinstance(node, Constant):
            node = _of_one_token(node, graph, tokens)
        shape: Shape = (1 if out.shape[0] == tokens else out.shape[0], *out.shape[1:])
        if isinstance(node, MatMul):
            node = replace(node, inputs=(node.inputs[0], keep(node.inputs[1])))
        tensors[node.output] = replace(out, shape=output_shape(node, [tensors[name] for name in node.inputs]) or shape)
        nodes.append(node)
    if not kept:
        raise UserError(f"{graph.name} has no attention: each of its tokens is by itself")
    layouts = {name: (1,) * len(layout) if graph.tensors[name].shape[1:] == (1, 1) else
               tuple(1 if size == tokens and place < 2 else size for place, size in enumerate(layout))
               for name, layout in graph.input_layouts.items()}
    result = replace(graph, inputs=tuple(inputs), tensors=tensors, nodes=tuple(nodes), input_layouts=layouts,
                     output_layouts={}, mask=LENGTH)
    result.check()
    return result


def _row(tensor: Tensor) -> Tensor:
    return replace(tensor, shape=(1, *tensor.shape[1:]))


_EACH_BY_ITSELF = Add | Embedding | Lookup | Mul | Norm | Rotary
"""What makes each row of the same row of what it reads."""


def _of_one_token(node: Node, graph: Graph, tokens: int) -> Node:
    """The operator for one row; `UserError` where that takes later ones, or more of them than a product reads."""
    x, out = graph.tensors[node.inputs[0]].shape, graph.tensors[node.output].shape
    if isinstance(node, Softmax) and node.causal and x[2] == tokens:
        return replace(node, causal=False, masked=True)
    alone = isinstance(node, _EACH_BY_ITSELF) and all(
        graph.tensors[name].shape[0] in (1, tokens) for name in node.inputs)
    alone |= isinstance(node, MatMul) and graph.tensors[node.inputs[1]].shape[0] == tokens
    alone |= isinstance(node, Softmax) and not node.causal and x[2] != tokens
    alone |= isinstance(node, Reshape) and x[0] == out[0]
    alone |= isinstance(node, Concat) and node.axis > 0
    alone |= isinstance(node, Slice) and (node.start[0], node.step[0], out[0]) == (0, 1, tokens)
    alone |= isinstance(node, Rescale) and not any(node.padding)
    alone |= (isinstance(node, Conv2D) and node.weights.shape[1] == 1 and node.strides[0] == 1
              and node.padding[0] == node.padding[2] == 0)
    if not alone or out[0] != tokens:
        raise UserError(f"{node.source or node.name} does not make each token of those before it; {graph.name} cannot "
                        "be run one token at a time: that takes causal attention")
    return node
