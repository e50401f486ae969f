"""The report: one self-contained HTML page about a run; runs side by side; a card for notebooks."""

from lighten.report.card import card
from lighten.report.page import render, write_report
from lighten.report.source import Source

__all__ = ["Source", "card", "render", "write_report"]
