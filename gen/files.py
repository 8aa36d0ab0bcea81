"""Files as the command line reads and writes them: written whole or not at all, refused in one sentence."""

import contextlib
import json
import os
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError


def require_writable(path: Path | None) -> None:
    """`UserError` where no file can be made at `path`; to be called before long work. No path is no question."""
    if path is None or _is_device(path):
        return
    folder = path.parent
    if os.path.isdir(path):
        raise UserError(f"{path} cannot be written: it is a folder; give the name of a file in it")
    if not os.path.isdir(folder):
        reason = "is no folder" if os.path.lexists(folder) else "does not exist; make it first"
        raise UserError(f"{path} cannot be written: {folder} {reason}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written: {folder} may not be written to; choose another folder")


def require_folder(folder: Path) -> None:
    """`UserError` where there is no folder and none can be made; makes nothing."""
    nearest = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), folder)
    if not os.path.isdir(nearest):
        raise UserError(f"{folder} cannot be written: {nearest} is no folder; choose another one")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written: {nearest} may not be written to; choose another folder")


def make_folder(folder: Path) -> None:
    """Makes a folder for output, with those above it."""
    require_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}; choose another folder") from None


def _is_device(path: Path) -> bool:
    """/dev/stdout, a pipe and the like: written to, never replaced."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file so that `path` has the whole content, or what it had before."""
    require_writable(path)
    raw = content.encode() if isinstance(content, str) else content
    try:
        if _is_device(path):
            path.write_bytes(raw)
            return
        target = Path(os.path.realpath(path))  # a link stays a link
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            part.write_bytes(raw)
            os.replace(part, target)
        finally:
            with contextlib.suppress(OSError):  # replaced, or never made
                part.unlink()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def write_json(path: Path | None, value: Any) -> None:
    """Writes a value as JSON; nothing where there is no path."""
    if path is not None:
        write_whole(path, json.dumps(value, indent=1) + "\n")


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Writes an .npz file; any name will do (numpy.savez refuses "file"), and the same arrays give the same bytes."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            raw = BytesIO()
            np.lib.format.write_array(raw, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), raw.getvalue())
    write_whole(path, packed.getvalue())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file."""
    hint = "write it with numpy.savez(path, INPUT_NAME=array)"
    if not os.path.isfile(path):
        reason = "it is no file" if os.path.lexists(path) else "there is no such file"
        raise UserError(f"{path} cannot be read: {reason}; {hint}")
    try:
        opened = np.load(path, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise UserError(f"{path} holds one array without a name (.npy); {hint}")
        with opened as arrays:
            return {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        raise UserError(f"{path} is no .npz file of plain arrays, or is damaged; {hint}") from None
