"""Bytes that a program moves, instruction by instruction."""

from collections.abc import Callable, Iterator

from systolith.rtl import assembly, isa
from systolith.rtl.config import Config
from systolith.rtl.isa import Instruction

from .model import Traffic

_SIZES = {isa.INT8: 1, isa.INT16: 2, isa.INT32: 4}


def executed(words: list[int], slots: int = 1) -> Iterator[tuple[Instruction, int]]:
    """Each instruction of a program up to END, in order, and how often it is executed; `slots`: see `Expander`."""
    at, loops, expander = 0, [1], assembly.Expander(slots)
    while at < len(words):
        instruction, at = expander.decode(words, at)
        yield instruction, loops[-1]
        if instruction.kind is isa.END:
            return
        if instruction.kind is isa.LOOP:
            loops.append(loops[-1] * instruction.count)
        elif instruction.kind is isa.NEXT:
            loops.pop()


def traffic(instruction: Instruction, config: Config, constants: int) -> Traffic:
    """What one execution of an instruction moves. `constants`: bytes of them, from external address 0 on."""
    count = _COUNTS.get(instruction.kind.name)
    return count(instruction, config, constants) if count else Traffic()


def _set_bytes(config: Config) -> int:
    """Bytes of a parameter set: two planes of int32 and one of bytes."""
    word = config.word_bytes
    return 2 * (-(-4 * config.cols // word) * word) + -(-config.cols // word) * word


def _move_in(i: Instruction, config: Config, constants: int) -> Traffic:
    moved = i.blocks * i.block_bytes
    return Traffic(external_read=moved, memory_write=moved, constants_external=moved if i.external < constants else 0)


def _move_out(i: Instruction, config: Config, constants: int) -> Traffic:
    moved = i.blocks * i.block_bytes
    return Traffic(external_write=moved, memory_read=moved)


def _array(i: Instruction, config: Config, constants: int) -> Traffic:
    tiles = i.tiles * i.ky * i.kx * i.kc
    loaded = tiles * config.weight_tile_bytes
    return Traffic(memory_read=loaded + tiles * i.rows_y * i.rows_x * config.rows, weights_memory=loaded)


def _vector(i: Instruction, config: Config, constants: int) -> Traffic:
    elements = i.ny * i.nx * ((i.tiles - 1) * i.elems + i.elems_last)
    operands = i.operands + 1 if i.source == isa.MEMORY else 0
    sets = operands or i.tiles
    read = elements * operands * i.wy * i.wx * _SIZES[i.in_type] + 256 * i.lookup
    return Traffic(memory_read=read + sets * _set_bytes(config), memory_write=elements * _SIZES[i.out_type])


def _depthwise(i: Instruction, config: Config, constants: int) -> Traffic:
    """Each byte of the input counts once an instruction, whatever the number of windows that it is in."""
    channels = (i.tiles - 1) * i.elems + i.elems_last
    height, width = ((n - 1) * step + (k - 1) * dilation + 1 for n, step, k, dilation in (
        (i.rows_y, i.y_step, i.ky, i.y_dilation), (i.rows_x, i.x_step, i.kx, i.x_dilation)))
    loaded = i.tiles * i.ky * i.kx * config.word_bytes
    return Traffic(memory_read=loaded + i.tiles * _set_bytes(config) + height * width * channels,
                   memory_write=i.rows_y * i.rows_x * channels, weights_memory=loaded)


def _softmax(i: Instruction, config: Config, constants: int) -> Traffic:
    return Traffic(memory_read=i.rows * i.elems + 1024, memory_write=i.rows * i.elems)


def _norm(i: Instruction, config: Config, constants: int) -> Traffic:
    return Traffic(memory_read=(i.rows * _SIZES[i.in_type] + 8) * i.elems,
                   memory_write=i.rows * i.elems * _SIZES[i.out_type])


_COUNTS: dict[str, Callable[[Instruction, Config, int], Traffic]] = {
    "MOVE_IN": _move_in, "MOVE_OUT": _move_out, "ARRAY": _array, "VECTOR": _vector, "DEPTHWISE": _depthwise,
    "SOFTMAX": _softmax, "NORM": _norm,
}
"""By the name of the instruction; one that is not here is taken to move nothing."""
