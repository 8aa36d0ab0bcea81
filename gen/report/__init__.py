"""What a run did: one data structure, shown by the terminal, as JSON, as an HTML file and as a trace."""

from .build import run_record, run_report
from .drawing import drawing
from .files import read_report, write_reports
from .measurement import Measurement
from .model import Report
from .terminal import bench_table, console, layer_table, summary_lines

__all__ = ["Measurement", "Report", "bench_table", "console", "drawing", "layer_table", "read_report", "run_record",
           "run_report", "summary_lines", "write_reports"]
