"""Boards by name: a data file of `constraints/` each, and the build of a configuration for one."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systolith.gen.errors import UserError
from systolith.gen.verilog import emit
from systolith.rtl.config import Config

from .flow import Progress, resources, run_flow, slowest_clock
from .pll import pll
from .top import BoardTop

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints"
FULL = 0.8
"""Use of a resource above which routing may take hours."""


@dataclass(frozen=True)
class Board:
    """A board's data file. `device` and `pins` are its tables of these names."""

    name: str
    description: str
    preset: str
    clock_mhz: float
    baud: int
    seed: int
    device: dict[str, str]
    pins: dict[str, dict[str, Any]]

    def constraints(self) -> str:
        """The LPF file: pins, their attributes, and the oscillator's frequency."""
        pins = self.pins
        places = {"clk_in": pins["clock"], "rx": pins["rx"], "tx": pins["tx"]}
        sites = [(port, pin["pin"], pin["attributes"]) for port, pin in places.items()]
        sites += [(f"led[{index}]", pin, pins["leds"]["attributes"]) for index, pin in enumerate(pins["leds"]["pins"])]
        lines = [f'FREQUENCY PORT "clk_in" {pins["clock"]["mhz"]} MHZ;']
        for port, site, attributes in sites:
            lines += [f'LOCATE COMP "{port}" SITE "{site}";', f'IOBUF PORT "{port}" {attributes};']
        return "\n".join(lines) + "\n"


def board_names() -> list[str]:
    """Boards that have a data file."""
    return sorted(path.stem for path in CONSTRAINTS.glob("*.toml"))


def load_board(name: str, clock_mhz: float | None = None) -> Board:
    """The board of that name; `clock_mhz` in place of its own."""
    path = CONSTRAINTS / f"{name}.toml"
    if name not in board_names():
        raise UserError(f"there is no board {name!r}; there are {', '.join(board_names())}")
    values = tomllib.loads(path.read_text())
    try:
        return Board(name, values["description"], values["preset"], clock_mhz or float(values["clock_mhz"]),
                     int(values["baud"]), int(values["seed"]), values["device"], values["pins"])
    except KeyError as error:
        raise UserError(f"{path} has no {error.args[0]!r}") from None


def boards_table() -> list[list[str]]:
    """Name, device, preset, clock and description of every board."""
    boards = [load_board(name) for name in board_names()]
    return [[b.name, b.device["name"], b.preset, f"{b.clock_mhz:g} MHz", b.description] for b in boards]


def build(board: Board, config: Config, folder: Path, progress: Progress = print) -> dict[str, Any]:
    """Everything from Verilog to bitstream in `folder`.

    The result: fmax_mhz, clock_mhz, luts, ffs, dsps, block_rams (used), bitstream (path, or None where the clock is
    missed: such a bitstream is not kept), full (resources near their end), conditions (device, tools, seed).
    SYSTOLITH_SEED: seed of place and route, in place of the board's.
    """
    if board.device["family"] != "ecp5":
        raise UserError(f"board {board.name} has an FPGA of family {board.device['family']}; only ecp5 is built")
    if config.external_bytes:
        raise UserError(f"board {board.name} has no external memory for the machine: set external_bytes to 0, "
                        f"not {config.external_bytes}")
    if config.multiplier not in ("generic", "ecp5"):
        raise UserError(f"board {board.name} has no multipliers {config.multiplier!r}: set multiplier to ecp5")
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    seed = int(os.environ.get("SYSTOLITH_SEED", board.seed))
    source = float(board.pins["clock"]["mhz"])
    clock = pll(source, board.clock_mhz)
    name = "systolith_board"
    progress(f"writing Verilog of {config.name} for {board.name} at {clock.mhz:g} MHz")
    top = BoardTop(config, clock, source, board.baud, len(board.pins["leds"]["pins"]))
    (folder / f"{name}.v").write_text(emit(top, name))
    (folder / f"{name}.lpf").write_text(board.constraints())
    bitstream = folder / f"{name}.bit"
    bitstream.unlink(missing_ok=True)
    report = run_flow(name, board.device, folder, seed, progress)
    used = resources(report)
    fmax = slowest_clock(report, "pll|fast|sync|clk")
    met = fmax >= clock.mhz
    if not met:
        bitstream.unlink(missing_ok=True)
        progress(f"the design reaches {fmax:.1f} MHz, less than the board's {clock.mhz:g} MHz: no bitstream is kept")
    return {
        "fmax_mhz": round(fmax, 1),
        "clock_mhz": clock.mhz,
        **{key: value["used"] for key, value in used.items()},
        "bitstream": str(bitstream) if met else None,
        "full": [key for key, value in used.items() if value["used"] > FULL * value["available"]],
        "conditions": f"{board.device['name']}, seed {seed}, {', '.join(report['tools'])}, " + ", ".join(
            f"{step} {seconds} s" for step, seconds in report["seconds"].items()),
    }
