"""What a .tflite network must be as a whole before its operators are looked at: int8, of fixed shape, batch 1."""

from systolith.gen.errors import UserError
from systolith.gen.frontend.tflite_file import File, Operator

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators with weights: by what they read and by their weights' types a network's kind is told."""
FULL = ("convert it with full integer quantisation (representative_dataset, and target_spec.supported_ops = "
        "[tf.lite.OpsSet.TFLITE_BUILTINS_INT8])")


def check_kind(file: File) -> None:
    """UserError for a network that is not quantised to int8 throughout, by what it is instead."""
    computed = [file.tensors[index] for operator in file.operators for index in (*operator.inputs, *operator.outputs)
                if index >= 0 and file.tensors[index].data is None]
    kinds = {tensor.type for tensor in computed if not tensor.sparse}
    if "INT16" in kinds:
        raise UserError(f"{file.name} has int16 activations (16x8 quantisation), which are not supported; {FULL}")
    if any(_weights_only(file, operator) for operator in file.operators if operator.name in WEIGHTED):
        raise UserError(f"{file.name} has quantised weights and float activations (dynamic range); {FULL}")
    if "INT8" not in kinds and "UINT8" in kinds:
        raise UserError(f"{file.name} is quantised to uint8, the older scheme; {FULL}")
    if "INT8" not in kinds:
        raise UserError(f"{file.name} is a float network; {FULL}")


def _weights_only(file: File, operator: Operator) -> bool:
    """It makes real numbers with integer weights."""
    kinds = {file.tensors[index].type for index in operator.inputs if index >= 0}
    return file.tensors[operator.outputs[0]].type == "FLOAT32" and bool(kinds & {"INT8", "UINT8", "INT4"})


def check_shapes(file: File) -> None:
    """UserError for an input with open sizes or a batch; a batch that is open but 1 is taken as 1."""
    for index in file.inputs:
        tensor = file.tensors[index]
        for axis in tensor.open_axes:
            if axis or tensor.shape[:1] != (1,):
                what = "batch is open" if axis == 0 else f"size of axis {axis} is open"
                raise UserError(f"{file.name}: the {what} in the input {tensor.name!r}, {list(tensor.shape)}; convert "
                                "the network with a fixed input shape and batch 1")
        if len(tensor.shape) > 3 and tensor.shape[0] != 1:
            raise UserError(f"{file.name}: the input {tensor.name!r} has a batch of {tensor.shape[0]}, "
                            f"{list(tensor.shape)}; convert the network with batch 1")


def needed(file: File) -> list[Operator]:
    """The operators that outputs depend on. What computes the shape of a RESHAPE is not among them: the file says
    which shape it has."""
    wanted, found = set(file.outputs), []
    for operator in reversed(file.operators):
        if wanted & set(operator.outputs):
            found.append(operator)
            wanted |= set(operator.inputs[:1] if operator.name == "RESHAPE" else operator.inputs)
    return found[::-1]
