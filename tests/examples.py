"""The examples, which are folders of scripts and no packages."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parents[1] / "examples"
DIGITS, TEXT = EXAMPLES / "digits", EXAMPLES / "text"


def example_module(folder: Path, name: str) -> ModuleType:
    """A script of an example that imports none of the others."""
    specification = importlib.util.spec_from_file_location(f"{folder.name}_{name}", folder / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = sys.modules[f"{folder.name}_{name}"] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
