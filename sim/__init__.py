"""The numbers: golden operators, the instruction model and the drivers of RTL simulators."""

if __name__ != "systolith.sim":
    raise ImportError("import systolith.sim, not sim")
