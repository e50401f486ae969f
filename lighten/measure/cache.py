"""Where measurements live between runs: one JSON file per device and subject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lighten.core.device import Device
from lighten.core.files import cache_dir, write_json


def path(device: Device, subject: str) -> Path:
    """The file of `subject` ("latency", "peaks") measured on `device`; it need not exist."""
    return cache_dir() / "devices" / device.key / f"{subject}.json"


def load(device: Device, subject: str) -> Any | None:
    """What was saved; None where nothing was, or where it cannot be read any more."""
    try:
        return json.loads(path(device, subject).read_text())
    except (OSError, ValueError):
        return None


def save(device: Device, subject: str, value: Any) -> None:
    """Keep a JSON value, replacing what was saved before."""
    write_json(path(device, subject), value)
