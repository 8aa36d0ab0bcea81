"""Options that several commands of the command line have, and the machine that some of them describe."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.gen.errors import UserError
from systolith.gen.goal import CODECS, MARGIN
from systolith.gen.presets import preset
from systolith.gen.run import ENGINES
from systolith.rtl.config import Config, ConfigError

DEFAULT_PRESET = "edge"

Preset = Annotated[str | None, typer.Option(
    "--preset", help=f"Named configuration; see `systolith presets`. {DEFAULT_PRESET} unless given.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration as JSON, instead of a preset.")]
Sets = Annotated[list[str] | None, typer.Option(
    "--set", help="NAME=VALUE: changes one number of the configuration; repeatable.")]
Calibrate = Annotated[Path | None, typer.Option(
    "--calibrate", help="Typical inputs for a float network, or for --codec pages (.npz: an array [N, ...] an "
                        "input).")]
Optimise = Annotated[str, typer.Option(
    "--optimise", help="cycles, memory (few rows of each tensor at a time) or balanced (between the two).")]
Memory = Annotated[int | None, typer.Option(
    "--memory", help="Bytes of the unified memory that may be used; all by default. What needs more is cut finer.")]
Codec = Annotated[str, typer.Option(
    "--codec", help=f"{' or '.join(CODECS)}: whether tensors that wait for a later part of the network are packed.")]
Margin = Annotated[float | None, typer.Option(
    "--margin", help=f"Pages beyond what the calibration data needs, as a part of them; {MARGIN} unless given.")]
Cascades = Annotated[bool, typer.Option(
    "--cascades/--no-cascades", help="Operators may be made together, stripe by stripe, or each by itself.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also writes the answer to this file as JSON.")]
ReportFolder = Annotated[Path | None, typer.Option(
    "--report", help="Writes report.html, report.json and trace.json (for ui.perfetto.dev) to this folder; of several "
                     "networks each to a folder of its own in it.")]
Engine = Annotated[str, typer.Option("--engine", help=f"One of {', '.join(ENGINES)}.")]


def configuration(name: str | None, file: Path | None, sets: list[str] | None) -> Config:
    """The configuration that the options describe."""
    if name and file:
        raise UserError(f"--preset {name} and --config {file} are two configurations; give one of them")
    config = _read_config(file) if file else preset(name or DEFAULT_PRESET)
    changes = {}
    for item in sets or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"--set {item!r} must be NAME=VALUE, for example --set rows=8")
        changes[key.strip()] = value.strip()
    return config.replace(**changes)


def _read_config(file: Path) -> Config:
    try:
        return Config.from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; give a configuration as JSON") from None
    except UnicodeDecodeError:
        raise UserError(f"{file} is no text file; give a configuration as JSON") from None
    except ConfigError as error:
        raise UserError(f"{file}: {error}") from None
