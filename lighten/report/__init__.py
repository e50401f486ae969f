"""The report: one self-contained HTML page about a run."""

from lighten.report.page import render, write_report
from lighten.report.source import Source

__all__ = ["Source", "render", "write_report"]
