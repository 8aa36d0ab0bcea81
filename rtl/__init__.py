"""The hardware: every unit is an Amaranth component, joined in `systolith.rtl.machine`."""

if __name__ != "systolith.rtl":
    raise ImportError("import systolith.rtl, not rtl")
