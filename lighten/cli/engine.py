"""Commands about our own engine: make the file it runs, and say how it runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lighten.cli import options as opt
from lighten.cli import show

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="a .lighten or .onnx file, a NETWORK, a run's folder")
]
File = Annotated[Path, typer.Option("-o", "--out", help="the file that is written")]


def build(
    model: Model,
    weights: opt.Weights = None,
    data: Annotated[
        str | None, typer.Option("--data", help="gives the input's shape, labels, preprocessing")
    ] = None,
    vocab: opt.Vocab = None,
    input: opt.InputShape = None,
    tune: Annotated[
        str | None, typer.Option("--tune", help="also time kernels, at most so long: 10s, 1m")
    ] = None,
    out: File = Path("model.lighten"),
) -> None:
    """Write MODEL as one safe file that the engine runs, without torch or its class.

    Example: [bold]lighten build zoo:resnet20 --weights w.safetensors -o model.lighten[/]
    """
    from lighten import inspection, store
    from lighten.subject import open_model

    data = opt.with_tokenizer(data, vocab, model, weights) if data else None
    limit = opt.seconds(tune) if tune else 0.0
    with show.progress() as progress:
        program = open_model(model, weights, data, 0, progress, input).program
        store.save(program, out)
        if limit:
            inspection.tune(program, limit, progress)
    show.said(f"{out}: {len(program.ops)} ops, {out.stat().st_size / 1e3:,.0f} kB")


def tune(
    model: Model,
    weights: opt.Weights = None,
    input: opt.InputShape = None,
    time: Annotated[str, typer.Option("--time", help="at most so long: 60s, 5m")] = "60s",
) -> None:
    """Time the kernels that MODEL could run on and keep the fastest that are right, for this
    machine. Later runs, builds and loads go by it.

    Example: [bold]lighten tune model.lighten --time 60s[/]
    """
    from lighten import inspection
    from lighten.subject import open_model

    with show.progress() as progress:
        program = open_model(model, weights, None, 0, progress, input).program
        timed, left = inspection.tune(program, opt.seconds(time), progress)
    if not timed and not left:
        show.said("Every convolution of it was timed here before.")
        return
    rest = f"; {left} are left, run it again" if left else ""
    show.said(f"{timed} convolutions were timed{rest}.")


def explain(
    model: Model,
    weights: opt.Weights = None,
    data: Annotated[str | None, typer.Option("--data", help="what it is timed on")] = None,
    vocab: opt.Vocab = None,
    batch: opt.BatchSize = 1,
    threads: opt.Threads = 1,
    input: opt.InputShape = None,
    json: opt.JsonFile = None,
) -> None:
    """Show, op by op, which kernel runs it, how long it takes and how fast that is.

    Example: [bold]lighten explain model.lighten[/]
    """
    from lighten import inspection
    from lighten.subject import open_model

    data = opt.with_tokenizer(data, vocab, model, weights) if data else None
    with show.progress() as progress:
        subject = open_model(model, weights, data, 0, progress, input)
        found = inspection.explain(subject, batch, threads)
    cells = [
        (
            row["op"],
            row["kernel"],
            row["schedule"],
            f"{row['milliseconds']:.4f}",
            f"{row['gflops']:.0f}" if row["gflops"] else "",
            f"{row['error']:.0e}" if row["error"] is not None else "",
            _second(row),
        )
        for row in found["ops"]
    ]
    title = f"{model}: {found['milliseconds']:.3f} ms, batch {batch}, {found['isa']}"
    title += f", {threads} threads" if threads > 1 else ""
    show.table(title, ("op", "kernel", "schedule", "ms", "GFLOP/s", "error", "next best"), cells)
    show.said(
        f"{found['interpreted']} of {found['planned']} ops are run by the reference interpreter; "
        f"the arena takes {found['arena'] / 1e6:.2f} MB."
    )
    show.save(json, found)


def _second(row: dict[str, Any]) -> str:
    """The fastest other kernel that was timed, and how many times as long it took."""
    order = sorted(row["tried"], key=lambda found: found["milliseconds"])
    others = [found for found in order if not found["name"].startswith(f"{row['kernel']} ")]
    if not row["fastest"] or not others:
        return ""
    times = others[0]["milliseconds"] / row["fastest"]
    return f"{others[0]['name'].split()[0]} {times:.2f}x"
