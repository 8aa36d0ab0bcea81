"""Operators to pieces of work: which unit does what, and why."""

from collections.abc import Callable
from functools import partial

from systolith.gen.errors import UserError
from systolith.gen.graph import (
    Add,
    Append,
    ArgMax,
    Concat,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    Embedding,
    Feed,
    Lookup,
    MatMul,
    Mul,
    Node,
    Norm,
    Pack,
    Pool2D,
    Rescale,
    Reshape,
    Resize,
    Rotary,
    Slice,
    Softmax,
    Transpose,
    TransposedConv2D,
    Unpack,
)
from systolith.gen.schedule.blocks import Block
from systolith.rtl import isa

from .argmax_nodes import plan_argmax
from .array_nodes import input_rows, plan_conv, plan_depthwise_on_array, plan_transposed
from .constants import depthwise_constants
from .copy_nodes import plan_append, plan_concat, plan_constant, plan_embedding, plan_slice, plan_transpose
from .gather_nodes import gains, plan_gathered
from .matmul_nodes import plan_matmul
from .plan import Emitter, Network, NodePlan, Piece
from .resize_nodes import plan_resize
from .rotary_nodes import plan_rotary
from .row_nodes import plan_norm, plan_softmax
from .stream_nodes import plan_feed, plan_pack, plan_unpack
from .vector_nodes import plan_add, plan_lookup, plan_mul, plan_pool, plan_rescale

_WINDOW, _TAPS = 13, 64
"""What a DEPTHWISE instruction can reach: window positions each way, and taps."""


def plan_convolution(network: Network, tag: int, node: Conv2D) -> NodePlan:
    """On the array; its windows gathered where that pays."""
    return plan_gathered(network, tag, node) if gains(network, node) else plan_conv(network, tag, node)


def plan_depthwise(network: Network, tag: int, node: DepthwiseConv2D) -> NodePlan:
    """One DEPTHWISE a block; on the array where the machine has no unit for it, or the window is too large."""
    config, x, out = network.config, network.tensor(node.inputs[0]), network.tensor(node.output)
    channels, ky, kx = node.weights.shape
    (sy, sx), (dy, dx), (top, left, _, _) = node.strides, node.dilations, node.padding
    if (not config.depthwise_lanes or channels != x.shape[2] or ky * kx > _TAPS
            or max((ky - 1) * dy, (kx - 1) * dx) >= _WINDOW or out.dtype != "int8"):
        return plan_depthwise_on_array(network, tag, node)
    groups = -(-channels // config.cols)
    plan = NodePlan(node, "depthwise", node.output,
                    make_constants=lambda: depthwise_constants(node, x.zero_point, config))

    def emit(e: Emitter, block: Block) -> None:
        source, target = e.place(x.name), e.place(out.name)
        start, first, end = input_rows(block, sy, top, ky, dy, x.shape[0])
        at, region = e.constants(tag)
        done = e.program.add(
            isa.DEPTHWISE, [region, *source.regions(first, end)], target.regions(block.y, block.end), tag=tag,
            **source.operand("a", first), b=at, b_tile=region.size // groups, rows_y=block.height, rows_x=block.width,
            ky=ky, kx=kx, tiles=groups, elems=min(config.cols, channels),
            elems_last=channels - (groups - 1) * config.cols, pad=x.zero_point, rounding=node.rounding, y_start=start,
            height=x.shape[0], x_start=-left, width=x.shape[1], y_step=sy, x_step=sx, y_dilation=dy, x_dilation=dx,
            zero_point=out.zero_point, low=node.low, high=node.high, a_tile=config.cols, a_row=source.row,
            a_pixel=source.pixel, c=target.at(block.y), c_tile=config.cols, c_row=target.row, c_pixel=target.pixel,
            **target.wrap("c"))
        e.wrote(done, out.name, block)

    for block in network.row_blocks(out, config.depthwise_lanes // config.cols):
        _, first, end = input_rows(block, sy, top, ky, dy, x.shape[0])
        plan.pieces.append(Piece(tag, block, [(x.name, first, end)], partial(emit, block=block)))
    return plan


def plan_reshape(network: Network, tag: int, node: Reshape) -> NodePlan:
    """No instruction: the output lies where the input does."""
    return NodePlan(node, "none", node.output)


PLAN: dict[type[Node], Callable[..., NodePlan]] = {
    Add: plan_add, Append: plan_append, ArgMax: plan_argmax, Concat: plan_concat, Constant: plan_constant,
    Conv2D: plan_convolution, DepthwiseConv2D: plan_depthwise,
    Embedding: plan_embedding, Feed: plan_feed, Lookup: plan_lookup, MatMul: plan_matmul, Mul: plan_mul,
    Norm: plan_norm, Pack: plan_pack,
    Pool2D: plan_pool, Rescale: plan_rescale, Reshape: plan_reshape,
    Resize: plan_resize, Rotary: plan_rotary, Slice: plan_slice, Softmax: plan_softmax, Transpose: plan_transpose,
    TransposedConv2D: plan_transposed, Unpack: plan_unpack,
}
"""How each operator is planned: a function of the network, the operator's number and the operator."""


def plan_nodes(network: Network) -> list[NodePlan]:
    """The plans of all operators; UserError for those that no unit can do, all at once."""
    plans: list[NodePlan] = []
    refused: list[str] = []
    done_before: set[str] = set()
    for tag, node in enumerate(network.graph.nodes):
        view = network.views.get(node.output)
        plan = NodePlan(node, "none", "" if node.output in done_before else node.output)
        if node.output in done_before or (view is not None and view.of in node.inputs[:1]):
            plans.append(plan)
            continue
        try:
            plan = PLAN[type(node)](network, tag, node)
        except KeyError:
            refused.append(f"{node.source or node.name}: no unit of the machine does {node.operator}")
        except UserError as error:
            refused.append(str(error))
        done_before.add(plan.output)
        plans.append(plan)
    if refused:
        raise UserError("; ".join(refused))
    return plans
