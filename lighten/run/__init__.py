"""Runs that can be stopped: a folder, its journal, and what was tried."""

from lighten.run.folder import RunFolder, read_trials
from lighten.run.journal import Journal

__all__ = ["Journal", "RunFolder", "read_trials"]
