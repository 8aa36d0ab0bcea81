"""RTL simulators: Verilator as a shared library, Icarus Verilog as the reference."""
