"""A user's own `file.py:factory` that returns a `Task`. It is their code, run as they wrote it."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from lighten.core.task import Task
from lighten.errors import DataError, LightenError

EXAMPLE = "Such as: --data my_data.py:task, where task() returns lighten.data.from_loaders(…)."


def task_from_factory(place: str) -> Task:
    """Run `file.py:factory()`. Raises `DataError` saying what came instead of a `Task`."""
    file, _, name = place.rpartition(":")
    path = Path(file).expanduser()
    if not path.is_file():
        raise DataError(f"{path} is not a file.", EXAMPLE)
    here = str(path.resolve().parent)
    sys.path.insert(0, here)
    try:
        factory = getattr(_module(path), name, None)
        if not callable(factory):
            raise DataError(f"{path} defines no function {name!r}.", EXAMPLE)
        task = factory()
    except LightenError:
        raise
    except Exception as error:
        raise DataError(f"{place} failed: {_told(error, path)}.") from error
    finally:
        sys.path.remove(here)
    if not isinstance(task, Task):
        raise DataError(f"{place} must return a Task, but returned {_kind(task)}.", EXAMPLE)
    if task.fingerprint:
        return task
    digest = hashlib.sha256(path.read_bytes() + name.encode()).hexdigest()
    return replace(task, fingerprint=digest[:16])


def _module(path: Path) -> ModuleType:
    name = f"lighten_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DataError(f"{path} is not a Python file.", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and worker processes look their module up
    spec.loader.exec_module(module)
    return module


def _kind(value: object) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def _told(error: Exception, path: Path) -> str:
    """The error in one line, with the line of the user's file where it arose."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"
