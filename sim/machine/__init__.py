"""Instruction model: executes a compiled file an instruction at a time."""
