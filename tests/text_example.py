"""The language example, which is a folder of scripts and no package."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TEXT = Path(__file__).parents[1] / "examples" / "text"


def example_module(name: str) -> ModuleType:
    """A script of the example that imports none of the others."""
    specification = importlib.util.spec_from_file_location(f"text_{name}", TEXT / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = sys.modules[f"text_{name}"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
