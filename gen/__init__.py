"""Configuration, compiler, reports, builds and the command line."""

if __name__ != "systolith.gen":
    raise ImportError("import systolith.gen, not gen")
