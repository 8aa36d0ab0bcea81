"""Writes reports to a folder."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from systolith.gen.errors import UserError
from systolith.gen.files import make_folder, write_json, write_whole

from .html import page
from .model import Report
from .trace import trace


def write_reports(folder: Path, reports: Sequence[Report]) -> list[Path]:
    """Writes report.json, report.html and, where cycles were measured, trace.json; for several networks into a folder
    of each within `folder`. The files; `UserError` where one cannot be written."""
    if len(reports) == 1:
        return _write(folder, reports[0])
    written, used = [], set()
    for report in reports:
        name = plain = re.sub(r"[^A-Za-z0-9._-]+", "_", report.network).strip(".") or "network"
        count = 1
        while name.lower() in used:
            count += 1
            name = f"{plain}_{count}"
        used.add(name.lower())
        written += _write(folder / name, report)
    return written


def read_report(file: Path) -> Report:
    """The report that `write_reports` wrote as report.json; `UserError` for another file."""
    try:
        return Report.of(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}; give a report.json that --report wrote") from None
    except (ValueError, TypeError, AttributeError, KeyError):
        raise UserError(f"{file} is no report; give a report.json that --report wrote") from None


def _write(folder: Path, report: Report) -> list[Path]:
    make_folder(folder)
    write_json(folder / "report.json", report.record())
    write_whole(folder / "report.html", page(report))
    if report.cycles is None:
        return [folder / "report.json", folder / "report.html"]
    write_whole(folder / "trace.json", json.dumps(trace(report), separators=(",", ":")) + "\n")
    return [folder / name for name in ("report.json", "report.html", "trace.json")]
