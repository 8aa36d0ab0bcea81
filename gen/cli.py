"""The command line: `systolith --help`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from systolith.gen import bench as benchmarks
from systolith.gen import report
from systolith.gen.compile import compile_graph
from systolith.gen.emit.artefact import Artefact, load, save
from systolith.gen.errors import UserError
from systolith.gen.frontend import import_model, operators_table
from systolith.gen.presets import PRESETS, preset
from systolith.gen.run import ENGINES, Session
from systolith.rtl.config import Config, ConfigError
from systolith.sim.golden.execute import dequantise_output, quantise_inputs

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Generates exact neural-network accelerators, and runs networks on them.")

Preset = Annotated[str, typer.Option("--preset", help="Named configuration; see `systolith presets`.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration as JSON, instead of a preset.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="NAME=VALUE: changes one number of the configuration; repeatable.")]
Calibrate = Annotated[Path | None, typer.Option("--calibrate", help="Typical inputs (.npz, one array [N, ...] an input) for a float network.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also writes the answer to this file as JSON.")]
Engine = Annotated[str, typer.Option("--engine", help=f"One of {', '.join(ENGINES)}.")]
Output = Annotated[Path, typer.Option("--output", "-o")]


def configuration(name: str, file: Path | None, sets: list[str] | None) -> Config:
    """The configuration that the options describe."""
    if file:
        try:
            config = Config.from_json(file.read_text())
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{file} is no text file; give a configuration as JSON") from None
    else:
        config = preset(name)
    changes = {}
    for item in sets or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set {item!r} must be NAME=VALUE, for example --set rows=8")
        changes[key] = value
    return config.replace(**changes)


def write_json(path: Path | None, value: Any) -> None:
    """Writes the file whole or not at all; none where there is no path."""
    if path is None:
        return
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(value, indent=1) + "\n")
        part.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a .npz file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else "it is no .npz file of plain arrays"
        raise UserError(f"{path} cannot be read: {reason}; write it with numpy.savez(path, INPUT_NAME=array)") from None


def compile_file(model: Path, config: Config, calibrate: Path | None) -> Artefact:
    """An artefact from an ONNX file."""
    graph = import_model(model, read_arrays(calibrate) if calibrate else None)
    return compile_graph(graph, config)


@app.command("compile", epilog="Example: systolith compile digits.onnx --calibrate images.npz -o digits.slp")
def compile_command(
    model: Annotated[Path, typer.Argument(help="ONNX file, float or QDQ.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The compiled file, .slp.")],
    preset_name: Preset = "edge", config_file: ConfigFile = None, sets: Sets = None, calibrate: Calibrate = None,
    json_file: JsonFile = None,
) -> None:
    """Quantises a network, schedules it into a machine's memory and writes the compiled file."""
    artefact = compile_file(model, configuration(preset_name, config_file, sets), calibrate)
    save(artefact, output)
    record = report.run_record(artefact, "none", artefact.config.name, None, None, 0)
    terminal = report.console()
    terminal.print(report.layer_table(record))
    for line in report.summary_lines(record):
        print(line)
    print(f"{output}: {output.stat().st_size:,} bytes")
    write_json(json_file, record)


def _samples(artefact: Artefact, path: Path) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Integer inputs, a dict a sample, from a file whose arrays have a leading batch axis."""
    arrays = read_arrays(path)
    graph = artefact.graph
    for name in graph.inputs:
        if name not in arrays:
            raise UserError(f"{path} has no array {name!r}; it has {', '.join(arrays) or 'none'}")
    whole = {}
    for name in graph.inputs:
        array = arrays[name]
        layout = graph.input_layouts.get(name)
        if layout is not None and (array.shape == tuple(layout[1:]) if layout[0] == 1 else array.shape == tuple(layout)):
            array = array[None]
        whole[name] = quantise_inputs(graph, name, array)
    if len({len(array) for array in whole.values()}) != 1:
        raise UserError(f"{path}: inputs must have one number of samples, not "
                        + ", ".join(f"{name} {len(a)}" for name, a in whole.items()))
    return [{name: array[i] for name, array in whole.items()} for i in range(len(next(iter(whole.values()))))]


@app.command(epilog="Example: systolith run digits.slp --input images.npz --output answers.npz --engine verilator --check")
def run(
    model: Annotated[Path, typer.Argument(help="Compiled file (.slp), or an ONNX file that is compiled first.")],
    input_file: Annotated[Path, typer.Option("--input", help="Inputs (.npz: an array [N, ...] an input; floats, or int8 as they are).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Outputs (.npz: NAME as floats, NAME_int8 as the machine gives them).")],
    engine: Engine = "golden",
    check: Annotated[bool, typer.Option("--check", help="Compares with the golden model; exit code 1 at the first difference.")] = False,
    trace: Annotated[Path | None, typer.Option("--trace", help="Waveforms to this file (.fst or .vcd), RTL engines.")] = None,
    preset_name: Preset = "edge", config_file: ConfigFile = None, sets: Sets = None, calibrate: Calibrate = None,
    json_file: JsonFile = None,
) -> None:
    """Runs a network on an engine."""
    if model.suffix == ".slp":
        artefact = load(model)
        if config_file or sets or calibrate:
            raise UserError(f"{model} is compiled already; --config, --set and --calibrate go with an ONNX file")
    else:
        artefact = compile_file(model, configuration(preset_name, config_file, sets), calibrate)
    samples = _samples(artefact, input_file)
    session = Session(artefact, engine, check=check, trace=trace, progress=note)
    collected: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in artefact.graph.outputs}
    measurement = None
    try:
        for index, sample in enumerate(samples):
            outputs, measurement = session.infer(sample)
            for name, value in outputs.items():
                collected[name].append(value)
            if len(samples) > 1:
                note(f"{index + 1} of {len(samples)}", end="\r")
            if session.difference:
                print(f"sample {index}: {session.difference}")
                raise typer.Exit(1)
    finally:
        session.close()
    arrays = {}
    for name, values in collected.items():
        stacked = np.stack(values)
        arrays[name] = dequantise_output(artefact.graph, name, stacked)
        arrays[f"{name}_int8"] = stacked
    part = output.with_name(output.name + ".part")
    try:
        with open(part, "wb") as file:
            np.savez(file, **arrays)
        part.replace(output)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from None
    record = report.run_record(artefact, engine, artefact.config.name, True if check else None, measurement, benchmarks.LATENCY)
    print(f"{len(samples)} sample{'s' if len(samples) != 1 else ''} on {engine}"
          + (f", {session.compared} tensors equal to the golden model" if check and engine != "golden" else "")
          + f"; outputs in {output}")
    for line in report.summary_lines(record) if measurement else ():
        print(line)
    write_json(json_file, record | {"samples": len(samples), "tensors_compared": session.compared})


@app.command(epilog="Example: systolith bench gemm:256x512x256 digits --preset edge")
def bench(
    names: Annotated[list[str], typer.Argument(help="A zoo network, a file (.slp, .onnx) or gemm:MxKxN.")],
    preset_name: Preset = "edge", config_file: ConfigFile = None, sets: Sets = None, calibrate: Calibrate = None,
    engine: Annotated[str, typer.Option("--engine", help="verilator, icarus or machine.")] = "verilator",
    layers: Annotated[bool, typer.Option("--layers", help="Also a table of the layers of each network.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Measures networks at batch 1 with seeded inputs: cycles, utilisation, memory, traffic, bit-exactness."""
    config = configuration(preset_name, config_file, sets)
    records = []
    for name in names:
        artefact = benchmarks.network(name, config, read_arrays(calibrate) if calibrate else None)
        records.append(benchmarks.measure(artefact, engine, progress=note))
    terminal = report.console()
    for record in records if layers else ():
        terminal.print(report.layer_table(record))
    terminal.print(report.bench_table(records))
    for line in dict.fromkeys(record["conditions"] for record in records):
        print(f"conditions: {line}")
    write_json(json_file, records)
    if not all(record["bit_exact"] for record in records):
        raise typer.Exit(1)


@app.command(epilog="Example: systolith verilog --preset edge -o build/edge")
def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the Verilog and the JSON beside it.")],
    preset_name: Preset = "edge", config_file: ConfigFile = None, sets: Sets = None,
) -> None:
    """Writes the machine's Verilog, and a JSON of its configuration, register map and latencies."""
    from systolith.gen.hardware import write_machine
    for path in write_machine(configuration(preset_name, config_file, sets), output):
        print(path)


@app.command(epilog="Example: systolith build --board ulx3s-85f -o build/ulx3s")
def build(
    board: Annotated[str, typer.Option("--board", help="See `systolith boards`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for everything that the build makes.")],
    preset_name: Annotated[str | None, typer.Option("--preset", help="Configuration; the board's own if not given.")] = None,
    config_file: ConfigFile = None, sets: Sets = None, json_file: JsonFile = None,
) -> None:
    """Synthesises, places, routes and packs a bitstream with open tools; tells resources and the clock it reaches."""
    from systolith.gen.build import board as boards_module
    description = boards_module.load_board(board)
    config = configuration(preset_name or description.preset, config_file, sets)
    result = boards_module.build(description, config, output, progress=note)
    for key, value in result.items():
        print(f"{key}: {value}")
    write_json(json_file, result)


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    report.console().print(table)


@app.command(epilog="Example: systolith presets")
def presets() -> None:
    """The named configurations."""
    _table("presets", ["name", "array", "memory", "banks x bytes", "vector lanes", "external bytes a cycle", "for"], [
        [name, f"{c.rows} x {c.cols}", f"{c.memory_bytes // 1024} KiB", f"{c.banks} x {c.word_bytes}", str(c.vector_lanes),
         str(c.external_bytes), purpose] for name, (c, purpose) in PRESETS.items()])


@app.command(epilog="Example: systolith boards")
def boards() -> None:
    """The boards that `systolith build` knows."""
    from systolith.gen.build import board as boards_module
    _table("boards", ["name", "device", "preset", "clock", "description"], boards_module.boards_table())


@app.command(epilog="Example: systolith operators")
def operators() -> None:
    """The operators that networks may use, and where they run."""
    rows = [[str(cell) for cell in row] for row in operators_table()]
    _table("operators", ["operator", "formats", "unit", "notes"], rows)


def note(text: str, end: str = "\n") -> None:
    """Progress, on standard error, so that standard output stays the answer."""
    if end == "\r" and not sys.stderr.isatty():
        return
    print(text, end=end, file=sys.stderr, flush=True)


def main() -> None:
    """Entry point: bad input ends with one sentence and exit code 2."""
    try:
        app()
    except (UserError, ConfigError) as error:
        print(f"systolith: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("systolith: interrupted", file=sys.stderr)
        sys.exit(130)
