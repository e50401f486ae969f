"""The command line: the same three depths as the Python API, as commands."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from lighten.cli import engine, learn, look, show
from lighten.errors import LightenError, MissingExtra

app = typer.Typer(
    name="lighten",
    help="A trained network, its data and a budget in; the network that meets it on this machine "
    "out, measured.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)

# command → what it runs, in the order of `lighten --help`
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": learn.demo,
    "train": learn.train,
    "compress": learn.compress,
    "apply": learn.apply,
    "evaluate": look.evaluate,
    "bench": look.bench,
    "analyze": look.analyze,
    "build": engine.build,
    "explain": engine.explain,
    "tune": engine.tune,
    "report": look.report,
    "compare": look.compare,
    "doctor": look.doctor,
}
# package → the extra that brings it
EXTRAS = {
    "torch": "train",
    "scipy": "train",
    "safetensors": "train",
    "yaml": "train",
    "array_api_compat": "train",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "openvino": "openvino",
    "PIL": "images",
    "sklearn": "demo",
}

for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """Run the command line: bad input ends with one sentence and exit code 2."""
    try:
        app()
    except LightenError as problem:
        show.error(problem)
        sys.exit(2)
    except ModuleNotFoundError as problem:
        package = (problem.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        show.error(
            MissingExtra(f"The package {package}, which this command needs,", EXTRAS[package])
        )
        sys.exit(2)
    except MemoryError:
        show.error(LightenError("There is not enough memory.", "Use a smaller --batch."))
        sys.exit(2)
