"""A machine's Verilog, and the JSON beside it that drivers and people read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from systolith.gen.cache import remember
from systolith.gen.errors import UserError
from systolith.gen.files import make_folder, require_folder, write_whole
from systolith.gen.verilog import emit
from systolith.rtl import isa
from systolith.rtl.axi_machine import AxiMachine
from systolith.rtl.bench_top import LATENCY
from systolith.rtl.config import Config
from systolith.rtl.errors import ErrorCode
from systolith.rtl.machine import Machine
from systolith.rtl.register_map import MEMORY_AT, register_map


def describe(machine: Machine) -> dict[str, Any]:
    """Configuration, address map, latencies and codes of a machine."""
    config = machine.config
    return {
        "config": dataclasses.asdict(config),
        "config_hash": config.hash,
        "address_map": {"registers": register_map(
            [name.replace(".", "__") for name in machine.counter_names], config.semaphores,
            bool(config.codec_lanes), config.clips),
                        "memory": {"address": MEMORY_AT, "bytes": config.memory_bytes}},
        "latencies": machine.latencies | {"external_memory_in_simulation": LATENCY},
        "counters": machine.counter_names,
        "error_codes": {code.name: int(code) for code in ErrorCode},
        "opcodes": {kind.name: {"opcode": kind.opcode, "words": kind.length} for kind in isa.TYPES},
    }


HOSTS = ("bus", "axi-lite")


def write_machine(config: Config, folder: Path, host: str = "bus") -> list[Path]:
    """Writes `systolith_<name>.v` and `.json` into `folder`; their paths.

    `host`: how registers are reached, one of `HOSTS`: the register bus of `rtl.ports`, or AXI4-Lite.
    """
    name = f"systolith_{config.name}"
    if host not in HOSTS:
        raise UserError(f"there is no host interface {host!r}; there are {', '.join(HOSTS)}")
    require_folder(folder)

    def make() -> list[str]:
        machine = Machine(config)
        top = AxiMachine(config) if host == "axi-lite" else machine
        return [emit(top, name), json.dumps(describe(machine) | {"host": host}, indent=1) + "\n"]

    verilog, description = remember("machine", f"{host} {config.to_json()}", make)
    texts = {folder / f"{name}.v": verilog, folder / f"{name}.json": description}
    make_folder(folder)
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)
