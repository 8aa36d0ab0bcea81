"""The table of the host's registers: hardware, drivers and documents all take it from here."""

import enum
from dataclasses import dataclass

from .isa import SEMAPHORES

IDENTIFICATION = 0x54535953
"""What the register ID reads: "SYST" in memory order."""
COUNTERS_AT = 0x100
SEMAPHORES_AT = 0x300
MEMORY_AT = 0x0100_0000
"""Host address of the unified memory's byte 0."""
MORE = 1 << 31
"""Bit of GIVE: the host has more to bring."""
MAX_COUNTERS = (SEMAPHORES_AT - COUNTERS_AT) // 4


class Access(enum.StrEnum):
    """What a host may do with a register; anything else is answered with an error."""

    READ = "ro"
    WRITE = "wo"
    READ_WRITE = "rw"
    CLEAR_ONES = "rw1c"
    """reads; ones written clear their bits"""


@dataclass(frozen=True)
class Register:
    """A 32-bit register: `bits` names its bits from bit 0 upwards, where they have names."""

    name: str
    address: int
    access: Access
    doc: str
    bits: tuple[str, ...] = ()
    paged: bool = False
    """Only machines with pages have it."""
    clips: bool = False
    """Only machines that clip instructions have it."""


REGISTERS = (
    Register("ID", 0x00, Access.READ, f"{IDENTIFICATION:#x}: this is a Systolith machine"),
    Register("VERSION", 0x04, Access.READ, "major, minor and patch number in bits 23:16, 15:8 and 7:0"),
    Register("CONFIG", 0x08, Access.READ, "hash of the machine's configuration"),
    Register("MEMORY_BYTES", 0x0C, Access.READ, "size of the unified memory"),
    Register("CONTROL", 0x10, Access.WRITE, "start: run the program at ENTRY; ignored while running or in error. "
             "clear: end any run, forget the error, reset every unit (not the memory); a start after it waits for it",
             ("start", "clear")),
    Register("ENTRY", 0x14, Access.READ_WRITE, "byte address of the program in the unified memory"),
    Register("STATUS", 0x18, Access.READ, "what the machine does; at most one bit is 1",
             ("running", "done", "error", "clearing")),
    Register("ERROR_CODE", 0x1C, Access.READ, "why it stopped, see the error codes; 0: no error"),
    Register("ERROR_INFORMATION", 0x20, Access.READ, "what the error code says it is"),
    Register("PC", 0x24, Access.READ, "address of the instruction that the sequencer executes, or executed last"),
    Register("INTERRUPT_ENABLE", 0x28, Access.READ_WRITE, "which events raise the interrupt", ("done", "error")),
    Register("INTERRUPT_STATUS", 0x2C, Access.CLEAR_ONES, "which events have happened", ("done", "error")),
    Register("COUNTERS", 0x30, Access.READ, f"number of performance counters; they are at {COUNTERS_AT:#x} and on"),
    Register("GIVE", 0x34, Access.WRITE, "gives a semaphore (number in bits 4:0) what bits 26:16 say, once rows of an "
             "input are in memory; bit 31: more will come, until then the watchdog waits", paged=True),
    Register("PAGES", 0x38, Access.READ, "most pages in use since the start: on the chip in bits 15:0, outside in "
             "bits 31:16", paged=True),
    Register("LENGTH", 0x3C, Access.READ_WRITE, "tokens of the sequence, up to 65535, to which marked instructions are "
             "clipped; 0: as compiled. It may change only while the machine does not run", clips=True),
)
BY_NAME = {register.name: register for register in REGISTERS}


def registers_of(paged: bool, clips: bool) -> list[Register]:
    """The registers of a machine, with or without pages, with or without LENGTH."""
    return [register for register in REGISTERS if (paged or not register.paged) and (clips or not register.clips)]


def register_map(counters: list[str], semaphores: int = SEMAPHORES, paged: bool = True, clips: bool = True,
                 ) -> list[dict[str, object]]:
    """Every 32-bit location below the memory window, as plain data: name, address, access, doc, bits."""
    rows = registers_of(paged, clips)
    rows += [Register(f"COUNTER_{name.upper()}", COUNTERS_AT + 4 * index, Access.READ, f"performance counter {name}")
             for index, name in enumerate(counters)]
    rows += [Register(f"SEMAPHORE_{index}", SEMAPHORES_AT + 4 * index, Access.READ, f"count of semaphore {index}")
             for index in range(1, semaphores)]
    return [{"name": r.name, "address": r.address, "access": str(r.access), "doc": r.doc, "bits": list(r.bits)}
            for r in rows]


def markdown(counters: list[str]) -> str:
    """The reference document of the register map."""
    out = ["# Registers", "", "Generated from `rtl/registers.py`; do not edit.", "",
           f"32-bit accesses at multiples of 4. The unified memory is at `{MEMORY_AT:#010x}` and on. "
           "Any other address, and a read or write that a register does not have, is answered with an error.", "",
           "| address | name | access | bits | meaning |", "|---|---|---|---|---|"]
    for row in register_map(counters):
        bits = ", ".join(f"{i}: {name}" for i, name in enumerate(row["bits"]))  # type: ignore[arg-type, var-annotated]
        out.append(f"| `{row['address']:#05x}` | {row['name']} | {row['access']} | {bits} | {row['doc']} |")
    return "\n".join(out) + "\n"
