"""Why a machine has stopped: the error codes that the status register shows."""

import enum


class ErrorCode(enum.IntEnum):
    """Named error states. Each is left by the host's clear, which resets every unit but not the memory."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    """The word at the program counter starts no instruction (information: its address)."""
    ADDRESS_OUT_OF_RANGE = 2
    """A unit asked for memory that is not there (information: the address)."""
    ILLEGAL_OPERAND = 3
    """A unit got an instruction whose fields it cannot execute (information: the unit's number)."""
    SEMAPHORE_OVERFLOW = 4
    """A semaphore was given more than it can count (information: its number)."""
    LOOP_NESTING = 5
    """A LOOP nested too deep, a NEXT without a LOOP, or a JUMP in one (information: the instruction's address)."""
    TIMEOUT = 6
    """No unit made progress for `watchdog_cycles` (information: bit per unit that was busy)."""
    OUT_OF_PAGES = 7
    """PACK found no page, neither on the chip nor outside (information: its tag)."""
    DAMAGED_STREAM = 8
    """UNPACK found a tile that is damaged, or none (information: its tag)."""
    MISUSED_STREAM = 9
    """PACK or UNPACK asked for what its stream cannot do, as to open one that is in use (information: `PagerError`)."""


class MachineStopped(RuntimeError):
    """A machine, or a model of one, stopped with an error; the message names it."""

    def __init__(self, message: str, code: ErrorCode, information: int) -> None:
        super().__init__(message)
        self.code, self.information = code, information
