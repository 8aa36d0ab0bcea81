"""The command line: `systolith --help`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from systolith.gen import bench as benchmarks
from systolith.gen import report
from systolith.gen.cli_options import (
    Calibrate,
    Cascades,
    Codec,
    ConfigFile,
    Engine,
    JsonFile,
    Margin,
    Memory,
    Optimise,
    Preset,
    ReportFolder,
    Sets,
    configuration,
)
from systolith.gen.emit.artefact import save
from systolith.gen.errors import UserError
from systolith.gen.files import read_arrays, require_folder, require_writable, write_arrays, write_json, write_whole
from systolith.gen.frontend import operators_table
from systolith.gen.goal import Goal
from systolith.gen.networks import KINDS, artefact_of, last_sample
from systolith.gen.presets import PRESETS
from systolith.gen.run import Session, check_engine
from systolith.gen.samples import integer_samples, sequence_lengths, whole_output
from systolith.gen.zoo import ZOO
from systolith.rtl.config import ConfigError
from systolith.sim.golden.execute import dequantise_output

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Generates exact neural-network accelerators, and runs networks on them.")

@app.command("compile", short_help="From an ONNX or .tflite file to a compiled file.",
             epilog="Example: systolith compile digits.onnx --calibrate images.npz -o digits.slp")
def compile_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{KINDS[0].upper()}{KINDS[1:]}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The compiled file, .slp.")],
    preset_name: Preset = None, config_file: ConfigFile = None, sets: Sets = None, calibrate: Calibrate = None,
    optimise: Optimise = "cycles", memory: Memory = None, codec: Codec = "off", margin: Margin = None,
    cascades: Cascades = True, json_file: JsonFile = None,
) -> None:
    """Quantises a network, schedules it into a machine's memory and writes the compiled file."""
    config = configuration(preset_name, config_file, sets)
    goal = Goal(optimise, memory, codec, cascades, margin)
    for file in (output, json_file):
        require_writable(file)
    if Path(model).suffix == ".slp":
        raise UserError(f"{model} is compiled already; give the network that it was made from")
    artefact = artefact_of(model, config, read_arrays(calibrate) if calibrate else None, goal=goal,
                           progress=_steps(json_file))
    save(artefact, output)
    made = report.run_report(artefact, "none", artefact.config.name, None, None, 0)
    terminal = report.console()
    terminal.print(report.layer_table(made))
    for line in report.summary_lines(made):
        print(line)
    print(f"{output}: {output.stat().st_size:,} bytes")
    write_json(json_file, made.record())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@app.command(
    epilog="Example: systolith run digits.slp --input images.npz --output answers.npz --engine verilator --check")
def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"Compiled file (.slp), or {KINDS}.")],
    input_file: Annotated[Path, typer.Option(
        "--input", help="Inputs (.npz: an array [N, ...] an input; floats, or int8 as they are; a mask of tokens makes "
                        "sequences shorter).")],
    output: Annotated[Path, typer.Option(
        "--output", "-o", help="Outputs (.npz: NAME as floats, 0 behind a shorter sequence; NAME_int8 as the machine "
                               "gives them).")],
    engine: Engine = "golden",
    check: Annotated[bool, typer.Option(
        "--check", help="Compares with the golden model; exit code 1 at the first difference.")] = False,
    trace: Annotated[Path | None, typer.Option(
        "--trace", help="Waveforms to this file (.fst or .vcd), RTL engines.")] = None,
    preset_name: Preset = None, config_file: ConfigFile = None, sets: Sets = None, calibrate: Calibrate = None,
    json_file: JsonFile = None, report_folder: ReportFolder = None,
) -> None:
    """Runs a network on an engine."""
    config = configuration(preset_name, config_file, sets)
    check_engine(engine, trace)
    for file in (output, json_file, trace):
        require_writable(file)
    if report_folder:
        require_folder(report_folder)
    artefact = artefact_of(model, config, read_arrays(calibrate) if calibrate else None,
                           compiled=config if preset_name or config_file or sets else None,
                           progress=_steps(json_file))
    arrays = read_arrays(input_file)
    samples = integer_samples(artefact.graph, arrays, str(input_file))
    lengths = sequence_lengths(artefact.graph, arrays, str(input_file), len(samples))
    session = Session(artefact, engine, check=check, trace=trace, progress=note)
    collected: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in artefact.graph.outputs}
    measurement = None
    try:
        for index, (sample, length) in enumerate(zip(samples, lengths, strict=True)):
            outputs, measurement = session.infer(sample, length)
            for name, value in outputs.items():
                collected[name].append(whole_output(artefact.graph, name, value))
            if len(samples) > 1:
                note(f"{index + 1} of {len(samples)}", end="\r")
            if session.difference:
                print(f"sample {index}: {session.difference}")
                raise typer.Exit(1)
    finally:
        session.close()
    made_arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, values in collected.items():
        stacked = np.stack(values)
        made_arrays[name] = dequantise_output(artefact.graph, name, stacked)
        made_arrays[f"{name}_int8"] = stacked
    write_arrays(output, made_arrays)
    made = report.run_report(artefact, engine, artefact.config.name, True if session.compared else None, measurement,
                             benchmarks.LATENCY, samples=len(samples), tensors_compared=session.compared,
                             length=lengths[-1])
    equal = f", {_count(session.compared, 'tensor')} equal to the golden model" if session.compared else ""
    print(f"{_count(len(samples), 'sample')} on {engine}{equal}; outputs in {output}")
    for line in report.summary_lines(made) if measurement else ():
        print(line)
    write_json(json_file, made.record())
    _write_reports(report_folder, [made])


@app.command(short_help="Measures networks: cycles, utilisation, traffic.",
             epilog="Example: systolith bench gemm:256x512x256 resnet8 --preset edge")
def bench(
    names: Annotated[list[str] | None, typer.Argument(
        metavar="NAME", help=f"Compiled file (.slp), or {KINDS}. Without one: {', '.join(benchmarks.SUITE)}, for "
                             "cycles and for memory, on as much memory as they need.")] = None,
    preset_name: Preset = None, config_file: ConfigFile = None, sets: Sets = None, calibrate: Calibrate = None,
    optimise: Annotated[str | None, typer.Option(
        "--optimise", help="cycles (the default), memory or balanced; see `systolith compile --help`.")] = None,
    memory: Memory = None, codec: Codec = "off", margin: Margin = None, cascades: Cascades = True,
    engine: Annotated[str, typer.Option(
        "--engine", help="verilator, icarus, machine or model (predicts cycles).")] = "verilator",
    layers: Annotated[bool, typer.Option("--layers", help="Also a table of the layers of each network.")] = False,
    json_file: JsonFile = None, report_folder: ReportFolder = None,
) -> None:
    """Measures networks at batch 1: cycles, utilisation, memory, traffic, bit-exactness.

    Inputs are seeded random numbers; of networks with a mask and with --codec the last sample of --calibrate, of which
    --codec sees nothing.
    """
    config = configuration(preset_name, config_file, sets)
    goals = [Goal(one, memory, codec, cascades, margin)
             for one in ([optimise] if optimise else ["cycles"] if names else ["cycles", "memory"])]
    benchmarks.check_benchmark_engine(engine)
    require_writable(json_file)
    if report_folder:
        require_folder(report_folder)
    calibration = read_arrays(calibrate) if calibrate else None
    compiled = config if preset_name or config_file or sets else None
    progress = _steps(json_file)
    artefacts = ([artefact_of(name, config, calibration, compiled=compiled, goal=goals[0], progress=progress)
                  for name in names] if names else benchmarks.suite(config, goals, progress))
    reports = []
    for artefact in artefacts:
        note(f"{artefact.graph.name}, compiled for {artefact.optimise}, on {engine}")
        inputs, length = (last_sample(artefact.graph, calibration)
                          if calibration and (artefact.codec != "off" or artefact.graph.mask) else (None, None))
        reports.append(benchmarks.measure(artefact, engine, progress=note, inputs=inputs, length=length))
    terminal = report.console()
    for made in reports if layers else ():
        terminal.print(report.layer_table(made))
    terminal.print(report.bench_table(reports))
    for line in dict.fromkeys(made.conditions for made in reports):
        print(f"conditions: {line}")
    write_json(json_file, [made.record() for made in reports])
    _write_reports(report_folder, reports)
    if any(made.bit_exact is not True for made in reports if made.engine != "model"):
        raise typer.Exit(1)


@app.command(short_help="Draws what the units do while some layers run.",
             epilog="Example: systolith timeline build/report/report.json --layers encoder.layer.2 -o layer.svg")
def timeline(
    file: Annotated[Path, typer.Argument(metavar="REPORT", help="A report.json that --report wrote.")],
    layers: Annotated[str, typer.Option("--layers", help="A layer, or what the names of several begin with.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture, .svg.")],
) -> None:
    """Draws the instructions of all units over the cycles of some layers of a run."""
    write_whole(output, report.drawing(report.read_report(file), layers))
    print(f"{output}: {output.stat().st_size:,} bytes")


@app.command(short_help="Writes a machine's Verilog and its description.",
             epilog="Example: systolith verilog --preset edge -o build/edge")
def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the Verilog and the JSON beside it.")],
    preset_name: Preset = None, config_file: ConfigFile = None, sets: Sets = None,
    host: Annotated[str, typer.Option("--host", help="How a host reaches it: bus (registers) or axi-lite.")] = "bus",
) -> None:
    """Writes the machine's Verilog, and a JSON of its configuration, register map and latencies."""
    from systolith.gen.hardware import write_machine
    for path in write_machine(configuration(preset_name, config_file, sets), output, host):
        print(path)


@app.command(short_help="Makes a bitstream for a board.",
             epilog="Example: systolith build --board ulx3s-85f -o build/ulx3s")
def build(
    board: Annotated[str, typer.Option("--board", help="See `systolith boards`.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for everything that the build makes.")],
    preset_name: Annotated[str | None, typer.Option(
        "--preset", help="Named configuration; the board's own unless given.")] = None,
    config_file: ConfigFile = None, sets: Sets = None, json_file: JsonFile = None,
) -> None:
    """Synthesises, places, routes and packs a bitstream with open tools; tells resources and the clock it reaches."""
    from systolith.gen.build import board as boards_module
    description = boards_module.load_board(board)
    config = configuration(preset_name or (None if config_file else description.preset), config_file, sets)
    require_folder(output)
    require_writable(json_file)
    result = boards_module.build(description, config, output, progress=note)
    for key, value in result.items():
        print(f"{key}: {value}")
    write_json(json_file, result)


def _write_reports(folder: Path | None, reports: list[report.Report]) -> None:
    for path in report.write_reports(folder, reports) if folder else ():
        print(f"report: {path}")


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    report.console().print(table)


@app.command(short_help="Measures how short activations become.",
             epilog="Example: systolith codec activations.npz --split test --plot sizes.svg")
def codec(
    file: Annotated[Path, typer.Argument(
        metavar="FILE", help="Tensors in int8 or uint8 (.npz: rows x columns x channels, or tokens x channels; a name "
                             "NETWORK/TENSOR/SPLIT/ZERO_POINT tells more).")],
    split: Annotated[str | None, typer.Option("--split", help="Only tensors of this split.")] = None,
    zero_point: Annotated[int | None, typer.Option(
        "--zero-point", help="Of tensors whose name has none; the most frequent value unless given.")] = None,
    json_file: JsonFile = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draws the sizes to this file (.svg).")] = None,
) -> None:
    """Measures tensors in the machine's codec and in models of others: bits a value, share of each mode. For each
    tensor it takes the centre and the set of tables that a compiler would, those with which it is shortest."""
    from systolith.gen import codec_plot, codec_report
    for path in (json_file, plot):
        require_writable(path)
    networks = codec_report.measure(codec_report.read_tensors(file, split, zero_point),
                                    progress=lambda text: note(text, end="\r"))
    terminal = report.console()
    terminal.print(codec_report.size_table(networks))
    terminal.print(codec_report.mode_table(networks))
    for line in codec_plot.text_bars(networks):
        print(line)
    print(f"mean {codec_report.mean(networks, codec_report.SYSTOLITH):.3f} bits a value")
    write_json(json_file, codec_report.record(networks))
    if plot:
        write_whole(plot, codec_plot.svg_bars(networks))


@app.command(epilog="Example: systolith presets")
def presets() -> None:
    """The named configurations."""
    _table("presets", ["name", "array", "memory", "banks x bytes", "vector lanes", "external bytes a cycle", "for"], [
        [name, f"{c.rows} x {c.cols}", f"{c.memory_bytes // 1024} KiB", f"{c.banks} x {c.word_bytes}",
         str(c.vector_lanes), str(c.external_bytes), purpose] for name, (c, purpose) in PRESETS.items()])


@app.command(epilog="Example: systolith boards")
def boards() -> None:
    """The boards that `systolith build` knows."""
    from systolith.gen.build import board as boards_module
    _table("boards", ["name", "device", "preset", "clock", "description"], boards_module.boards_table())


@app.command(short_help="The networks that need no file; minilm on sentences.",
             epilog="Example: systolith zoo minilm \"A cat sits on a mat.\" \"A kitten lies on a rug.\"")
def zoo(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="minilm: encodes sentences.")] = None,
    texts: Annotated[list[str] | None, typer.Argument(metavar="SENTENCE", help="What it encodes.")] = None,
    engine: Engine = "golden", preset_name: Preset = None, config_file: ConfigFile = None, sets: Sets = None,
    accuracy: Annotated[bool, typer.Option(
        "--accuracy", help="minilm: compares with the float network on 200 sentences of Python's own.")] = False,
    json_file: JsonFile = None,
) -> None:
    """The networks that need no file. With minilm and sentences: text in, vectors out, and how alike they are."""
    require_writable(json_file)
    if name is not None:
        from systolith.gen.text import terminal
        if name != terminal.NAME:
            raise UserError(f"{name} reads no sentences; only {terminal.NAME} does. `systolith bench {name}` measures "
                            "a network")
        config = configuration(preset_name, config_file, sets)
        write_json(json_file, terminal.encode(texts or [], engine, config, accuracy, note))
        return
    records = [network.record() for network in ZOO.values()]
    _table("zoo", ["name", "network", "input", "other sizes (NAME@SIZExLAYERS)", "MMAC", "parameters", "weights"], [
        [r["name"], r["what"], "x".join(map(str, r["input"])),
         ", ".join(filter(None, (r["sizes"], r["layers"]))), f"{r['macs'] / 1e6:,.2f}", f"{r['parameters']:,}",
         r["weights"]] for r in records])
    write_json(json_file, records)


@app.command(short_help="A language model writes on.",
             epilog="Example: systolith complete \"The list \" --engine machine")
def complete(
    prompt: Annotated[str, typer.Argument(metavar="TEXT", help="How the text begins.")],
    tokens: Annotated[int, typer.Option("--tokens", help="How many tokens it writes at most.")] = 40,
    engine: Engine = "golden", preset_name: Preset = None, config_file: ConfigFile = None, sets: Sets = None,
    json_file: JsonFile = None,
) -> None:
    """A small language model, trained on Python's own documentation, writes on: one pass of the machine a token, with
    the keys and values of all tokens before in the unified memory. Exit code 1 where the engine disagrees with the
    golden model."""
    from systolith.gen.language import terminal
    require_writable(json_file)
    config = configuration(preset_name, config_file, sets)
    record = terminal.write(prompt, tokens, engine, config, benchmarks.LATENCY, note)
    write_json(json_file, record)
    if record["bit_exact"] is False:
        raise typer.Exit(1)


@app.command(epilog="Example: systolith operators")
def operators() -> None:
    """The operators that networks may use, and where they run."""
    rows = [[str(cell) for cell in row] for row in operators_table()]
    _table("operators", ["operator", "formats", "unit", "notes"], rows)


def note(text: str, end: str = "\n") -> None:
    """Progress, on standard error, so that standard output stays the answer. With end "\r" the next one replaces it;
    that is for terminals only."""
    if sys.stderr.isatty():
        print(f"\x1b[K{text}", end=end, file=sys.stderr, flush=True)
    elif end != "\r":
        print(text, end=end, file=sys.stderr, flush=True)


def _steps(json_file: Path | None) -> Callable[[str], None] | None:
    """Shows the steps of a compilation; the last one goes when it ends. Not where a program is to read the answer."""
    return None if json_file else lambda text: note(text, end="\r")


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
