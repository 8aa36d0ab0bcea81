"""The one function that emits Verilog.

Amaranth writes a module for every instance. Here identical modules are found in its RTLIL and written once, which
makes the text readable and every tool that reads it several times faster. Two modules are the same when their
cells, processes and connections are the same, in order, up to the names of wires and ports.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from amaranth import Value
from amaranth.back import rtlil, verilog
from amaranth.hdl import Const
from amaranth.hdl._ir import PortDirection  # has no public name in 0.5; unused inputs need it
from amaranth.lib import wiring

Ports = dict[str, tuple[Value, Any]]

_NAME = re.compile(r"(?<!\S)(?:\\[^\s]+|\$[0-9][^\s]*)")
_MODULE = re.compile(r"^((?:attribute [^\n]*\n)*)module (\S+)\n(.*?)^end\n", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"^  cell (\S+) (\S+)$")
_WIRE = re.compile(r"^  wire width (\d+)(?: (input|output|inout) \d+)? *( signed)? (\S+)$")
_MEMORY = re.compile(r"^  memory width (\d+) size (\d+) (\S+)$")
_NOTES = re.compile(r"^ *attribute \\(?:generator|src|top|amaranth\S*) ")
_MEMORY_ID = re.compile(r'^    parameter \\MEMID "\\(\\[^"]+)"')
_WOKEN = re.compile(
    r"^  (?:reg (?P<trigger>\\\$auto\$verilog_backend\S+ ) = 0;|always @\*\n    (?P<piece>.* = .*;))$", re.MULTILINE)
_MEMORY_DECLARATION = re.compile(
    r"^(  reg (?:\[\d+:0\] )?(\w+|\\\S+ ) ?\[(\d+):0\];)\n(?!  initial begin\n    \2)", re.MULTILINE)


def component_ports(component: wiring.Component) -> Ports:
    """The members of `component` as named Verilog ports; those with a constant value or without bits are none."""
    ports: Ports = {}
    for path, member, value in component.signature.flatten(component):
        signal = Value.cast(value)
        if isinstance(signal, Const) or not len(signal):
            continue
        direction = PortDirection.Input if member.flow == wiring.In else PortDirection.Output
        ports["__".join(map(str, path))] = (signal, direction)
    return ports


def emit(component: Any, name: str, ports: Any = None, platform: Any = None) -> str:
    """Verilog of `component` as a module `name`: the same text on every machine.

    Parameters
    ----------
    component: an elaboratable.
    name: of the top module; the others are named `<name>_<submodule>`.
    ports: as `amaranth.back.verilog.convert` takes them; left out, the members of the component's signature.
    platform: given to every `elaborate`.
    """
    os.environ["AMARANTH_USE_YOSYS"] = "builtin"  # a yosys on PATH would give other names
    if ports is None:
        ports = component_ports(component)
    with _without_zeros():
        text = rtlil.convert(component, name=name, ports=ports, platform=platform, emit_src=False)
    text = verilog._convert_rtlil_text(merge_modules(text, name), strip_internal_attrs=True)
    text = re.sub(r"\A/\*[^\n]*\n", f"/* {name}: written by Systolith */\n", text)
    return fill_with_zeros(_wake(text))


def _wake(text: str) -> str:
    """The Verilog `text` with every `always @*` block started at time 0, by a change of its module's trigger.

    A declaration's initial value is no event under SystemVerilog, so the trigger gets it from an `initial` block. Of a
    signal that is set in pieces, those outside of processes have blocks without a trigger: what never changes would
    stay undefined in them.
    """
    trigger = ""

    def woken(match: re.Match[str]) -> str:
        nonlocal trigger
        if match["trigger"]:
            trigger = match["trigger"]
            return f"  reg {trigger};\n  initial {trigger}= 0;"
        return f"  always @* begin\n    if ({trigger}) begin end\n    {match['piece']}\n  end"

    return _WOKEN.sub(woken, text)


@dataclass
class _Module:
    """A module of the RTLIL text, and what is the same in all its copies."""

    path: list[str]
    attributes: str
    body: list[str]
    key: str = ""
    ports: dict[str, int] = field(default_factory=dict)
    """Number of each port's name in `key`."""


def merge_modules(text: str, top: str) -> str:
    """The RTLIL `text` with every group of identical modules written once, under a short name."""
    modules = {match[2]: _Module(match[2].lstrip("\\").split("."), match[1], match[3].splitlines())
               for match in _MODULE.finditer(text)}
    first: dict[str, str] = {}
    kept: dict[str, str] = {}  # name of each module to the one that stands for it
    for name in sorted(modules, key=lambda name: -len(modules[name].path)):  # children first
        _canonical(modules[name], modules, kept)
        kept[name] = first.setdefault(modules[name].key, name)
    names = _short_names([module for name, module in modules.items() if kept[name] == name], top)
    out = [text[:_MODULE.search(text).start()]] if modules else [text]  # type: ignore[union-attr]
    for name, module in modules.items():
        if kept[name] != name:
            continue
        body = "\n".join(_instances(module, modules, kept, names))
        out.append(f"{module.attributes}module {names[id(module)]}\n{body}\nend\n")
    return "\n".join(out)


def _canonical(module: _Module, modules: dict[str, _Module], kept: dict[str, str]) -> None:
    """Fill in `key` and `ports`: the body with its names numbered by first appearance."""
    numbers: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"<{numbers.setdefault(match[0], len(numbers))}>"

    key: list[str] = []
    wires: list[tuple[str, list[str]]] = []
    notes: list[str] = []
    lines = iter(module.body)
    for line in lines:
        if not line or _NOTES.match(line):
            continue
        if line.startswith("  attribute "):
            notes.append(line)
        elif _WIRE.match(line) or _MEMORY.match(line):
            wires.append((line, notes))
            notes = []
        elif cell := _CELL.match(line):
            key += [*notes, f"cell {kept.get(cell[1], cell[1])}"]
            notes = []
            key += _cell_key(lines, modules.get(cell[1]), number)
        elif line.startswith("  process "):
            key.append("process")
        elif line.startswith("  wire "):
            raise AssertionError(f"unknown RTLIL: {line}")
        else:
            key.append(_NAME.sub(number, line))
    declared = []
    for line, notes in wires:
        wire = _WIRE.match(line)
        name = line.split()[-1]
        index = numbers.setdefault(name, len(numbers))
        if wire and wire[2]:
            module.ports[name] = index
        kind = f"wire {wire[1]} {wire[2]}{wire[3]}" if wire else " ".join(line.split()[:-1])
        declared.append(f"{index:09} {kind} {' '.join(sorted(notes))}")
    module.key = "\n".join(key + sorted(declared))


def _cell_key(lines: Any, child: _Module | None, number: Callable[[re.Match[str]], str]) -> list[str]:
    """The lines of a cell up to its end; ports of our own modules are numbered as in the child, and sorted."""
    key = []
    for line in lines:
        if line == "  end":
            break
        if line.startswith("    connect "):
            _, port, value = line.split(maxsplit=2)
            port = f"{child.ports[port]:09}" if child else port
            key.append((port, value))
        else:
            memory = _MEMORY_ID.match(line)
            key.append(("    parameter \\MEMID", memory[1]) if memory else (line, ""))
    if child:
        key.sort()
    return [f"{port} {_NAME.sub(number, value)}" for port, value in key]


def _instances(module: _Module, modules: dict[str, _Module], kept: dict[str, str], names: dict[int, str]) -> list[str]:
    """The body with each instance made one of the module that stands for its own."""
    out = []
    renamed: dict[str, str] = {}
    for line in module.body:
        cell = _CELL.match(line)
        if cell and cell[1] in modules:
            child, stand = modules[cell[1]], modules[kept[cell[1]]]
            by_number = {index: port for port, index in stand.ports.items()}
            renamed = {port: by_number[index] for port, index in child.ports.items()}
            line = f"  cell {names[id(stand)]} {cell[2]}"
        elif line == "  end":
            renamed = {}
        elif renamed and line.startswith("    connect "):
            _, port, value = line.split(maxsplit=2)
            line = f"    connect {renamed[port]} {value}"
        out.append(line)
    return out


def _short_names(modules: list[_Module], top: str) -> dict[int, str]:
    """A plain unique name for each module: the top's, an underscore and the submodule's without its number."""
    names: dict[int, str] = {}
    used: set[str] = set()
    for module in modules:
        parts = [re.sub(r"\W", "_", re.sub(r"_?\d+$", "", part)) or "part" for part in module.path]
        tries = [f"{top}_{parts[-1]}", f"{top}_{'_'.join(parts[-2:])}"] if len(parts) > 1 else [top]
        tries += [f"{tries[-1]}_{count}" for count in range(2, len(modules) + 2)]
        names[id(module)] = "\\" + next(name for name in tries if name not in used)
        used.add(names[id(module)][1:])
    return names


@contextmanager
def _without_zeros() -> Iterator[None]:
    """Amaranth leaves out the contents of memories that are all zeros, a bit a time: minutes for some megabytes."""
    whole = rtlil.ModuleEmitter.emit_memory

    def emit_memory(emitter: Any, index: int, cell: Any) -> None:
        if any(cell.init):
            whole(emitter, index, cell)

    rtlil.ModuleEmitter.emit_memory = emit_memory
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = whole


def fill_with_zeros(text: str) -> str:
    """Every memory without an `initial` block gets one: a loop."""
    def loop(match: re.Match[str]) -> str:
        name, last = match[2], int(match[3])
        index = re.sub(r"\W", "_", name) + "_word"
        return (f"{match[1]}\n  integer {index};\n  initial begin\n    for ({index} = 0; {index} < {last + 1}; "
                f"{index} = {index} + 1)\n      {name}[{index}] = 0;\n  end\n")
    return _MEMORY_DECLARATION.sub(loop, text)
