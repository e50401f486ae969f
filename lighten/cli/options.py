"""The options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="zoo:NAME, file.py:factory, an .onnx file, hf:FOLDER, a torch.export .pt2, or the "
        "folder of a finished run",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="builtin:digits, builtin:sensor and others made here, "
        "a folder or tar of images (split/class/file), .npz arrays, a folder "
        "of .tsv sentences (?length=64), or file.py:factory returning a Task",
    ),
]
Vocab = Annotated[
    Path | None,
    typer.Option("--vocab", help="the tokenizer of sentences; else what lies beside the weights"),
]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="safetensors, or a state dict (read without running code)"),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads for inference")]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="samples per call when timing")]
Backend = Annotated[
    str, typer.Option("--backend", help="auto, eager, onnxruntime, openvino, native")
]
Timed = Annotated[
    str,
    typer.Option(
        "--backend",
        help="auto: every backend but torch.compile, which compiles for up to minutes; all: with "
        "it; or one's name",
    ),
]
Bf16 = Annotated[
    bool,
    typer.Option("--bf16", help="let our engine multiply in bfloat16, which changes results"),
]
Reference = Annotated[
    str, typer.Option("--reference", help="runs the fp32 original that 0.25x refers to")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="same seed, same result")]
Epochs = Annotated[
    float | None, typer.Option("--epochs", min=0.0, help="length of the final training")
]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", min=1e-8, help="peak learning rate; else what suits the network"),
]
Out = Annotated[Path | None, typer.Option("--out", help="the run's folder")]
Ignore = Annotated[
    list[str] | None,
    typer.Option("--ignore", help="a layer to leave alone, or re:PATTERN; may be repeated"),
]
SkipCorrupt = Annotated[
    int, typer.Option("--skip-corrupt", min=0, help="how many unreadable images may be skipped")
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="also write the result as JSON to this file")
]
InputShape = Annotated[
    str | None,
    typer.Option("--input", help="one sample's shape, such as 3x32x32, where no data says it"),
]


def with_tokenizer(data: str, vocab: Path | None, network: str, weights: Path | None) -> str:
    """What was typed after --data, with the tokenizer of --vocab or of the network."""
    from lighten.data.text import with_tokenizer

    return with_tokenizer(data, vocab, network, weights)


def whole_numbers(text: str, name: str) -> list[int]:
    """Read "1,32"; a `typer.BadParameter` names the option otherwise."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter(f"{name} must look like 1 or 1,32, but got {text!r}.")
    return numbers


def seconds(text: str) -> float:
    """Read "90s", "40m", "2h" or plain seconds; a `typer.BadParameter` otherwise."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"--time must look like 90s, 40m or 2h, but got {text!r}.")
    return value
