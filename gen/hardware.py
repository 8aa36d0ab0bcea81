"""A machine's Verilog, and the JSON beside it that drivers and people read."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from systolith.gen.cache import remember
from systolith.gen.files import make_folder, require_folder, write_whole
from systolith.gen.verilog import emit
from systolith.rtl import isa
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
        "address_map": {"registers": register_map([name.replace(".", "__") for name in machine.counter_names]),
                        "memory": {"address": MEMORY_AT, "bytes": config.memory_bytes}},
        "latencies": machine.latencies | {"external_memory_in_simulation": LATENCY},
        "counters": machine.counter_names,
        "error_codes": {code.name: int(code) for code in ErrorCode},
        "opcodes": {kind.name: {"opcode": kind.opcode, "words": kind.length} for kind in isa.TYPES},
    }


def write_machine(config: Config, folder: Path) -> list[Path]:
    """Writes `systolith_<name>.v` and `.json` into `folder`; their paths."""
    name = f"systolith_{config.name}"
    require_folder(folder)

    def make() -> list[str]:
        machine = Machine(config)
        return [emit(machine, name), json.dumps(describe(machine), indent=1) + "\n"]

    verilog, description = remember("machine", config.to_json(), make)
    texts = {folder / f"{name}.v": verilog, folder / f"{name}.json": description}
    make_folder(folder)
    for path, text in texts.items():
        write_whole(path, text)
    return list(texts)
