"""Commands about our own engine: make the file it runs, and say how it runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lighten.cli import options as opt
from lighten.cli import show
from lighten.errors import InputError

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="a .lighten or .onnx file, a NETWORK, a run's folder")
]


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
    object: Annotated[
        bool, typer.Option("--object", help="write a C object file and header instead")
    ] = False,
    cpu: Annotated[
        str | None, typer.Option("--cpu", help="with --object: avx2, neon, znver4, … (this one)")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="the file, or with --object also a folder")
    ] = None,
) -> None:
    """Write MODEL as one safe file that the engine runs, without torch or its class; or as an
    object file to link into a program without Python.

    Example: [bold]lighten build zoo:resnet20 --weights w.safetensors -o model.lighten[/]
    """
    from lighten import inspection, store
    from lighten.subject import open_model

    if cpu and not object:
        raise InputError("--cpu says what an object file is for, but --object is not given.")
    data = opt.with_tokenizer(data, vocab, model, weights) if data else None
    limit = opt.seconds(tune) if tune else 0.0
    with show.progress() as progress:
        program = open_model(model, weights, data, 0, progress, input).program
        if limit:
            inspection.tune(program, limit, progress)
        if object:
            file, header = inspection.write_object(program, model, cpu or "", out or Path())
            sizes = f"{file.stat().st_size / 1e3:,.0f} kB"
            show.said(f"{file}: {len(program.ops)} ops, {sizes}; {header} declares it")
            return
        out = out or Path("model.lighten")
        store.save(program, out)
    show.said(f"{out}: {len(program.ops)} ops, {out.stat().st_size / 1e3:,.0f} kB")


def tune(
    model: Model,
    weights: opt.Weights = None,
    input: opt.InputShape = None,
    time: Annotated[str, typer.Option("--time", help="at most so long: 60s, 5m")] = "60s",
    bf16: opt.Bf16 = False,
) -> None:
    """Time the kernels that MODEL could run on and keep the fastest that are right, for this
    machine. Later runs, builds and loads go by it.

    Example: [bold]lighten tune model.lighten --time 60s[/]
    """
    from lighten import inspection
    from lighten.subject import open_model

    with show.progress() as progress:
        program = open_model(model, weights, None, 0, progress, input).program
        timed, left = inspection.tune(program, opt.seconds(time), progress, bf16)
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
    tried: Annotated[
        bool, typer.Option("--tried", help="also show every kernel that was timed for each op")
    ] = False,
    bf16: opt.Bf16 = False,
    json: opt.JsonFile = None,
) -> None:
    """Show, op by op, which kernel runs it, how long it takes and how near that is to the core's
    ceiling of multiply-adds.

    Example: [bold]lighten explain model.lighten --tried[/]
    """
    from lighten import inspection
    from lighten.subject import open_model

    data = opt.with_tokenizer(data, vocab, model, weights) if data else None
    with show.progress() as progress:
        subject = open_model(model, weights, data, 0, progress, input)
        found = inspection.explain(subject, batch, threads, bf16)
    cells = [
        (
            row["op"],
            row["kernel"],
            row["schedule"],
            row["layout"].partition(" ")[0],
            row["format"],
            f"{row['milliseconds']:.4f}",
            f"{row['gflops']:.0f}" if row["gflops"] else "",
            f"{100 * row['ceiling']:.0f} %" if row["gflops"] else "",
            f"{row['error']:.0e}" if row["error"] is not None else "",
            _second(row),
        )
        for row in found["ops"]
    ]
    title = f"{model}: {found['milliseconds']:.3f} ms, batch {batch}, {found['isa']}"
    title += f", {threads} threads" if threads > 1 else ""
    what, how = ("op", "kernel", "schedule", "layout", "format"), ("ms", "GOP/s", "of ceiling")
    show.table(title, (*what, *how, "error", "next best"), cells)
    if tried:
        show.table("What was timed", ("op", "kernel", "ms", "error", ""), _tried(found))
    show.said(
        f"{found['interpreted']} of {found['planned']} ops are run by the reference interpreter; "
        f"the arena takes {found['arena'] / 1e6:.2f} MB.\n"
        f"The ceiling is {found['ceiling_gflops']:.0f} GFLOP/s: multiply-adds of one core between "
        f"registers{_of_codes(found)}.\n"
        f"End to end the outputs are within {found['error']:.0e} of those in float64."
    )
    show.save(json, found)


def _of_codes(found: dict[str, Any]) -> str:
    """The ceiling of codes, where there are any."""
    most = found["ceiling_int8"]
    return f", {most:.0f} GOP/s in int8" if most else ""


def _tried(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every kernel that was timed for an op, the fastest first, and what became of it."""
    rows: list[tuple[str, ...]] = []
    for op in found["ops"]:
        for one in sorted(op["tried"], key=lambda one: one["milliseconds"]):
            kernel, _, schedule = one["name"].partition(" ")
            state = "too inexact" if one["error"] > found["tolerance"] else ""
            state = "chosen" if one["name"] == op["chosen"] else state
            name = f"{kernel} {schedule.removeprefix('Schedule')}"
            rows.append(
                (op["op"], name, f"{one['milliseconds']:.4f}", f"{one['error']:.0e}", state)
            )
    return rows


def _second(row: dict[str, Any]) -> str:
    """The fastest other kernel that was timed, and how many times as long it took."""
    order = sorted(row["tried"], key=lambda found: found["milliseconds"])
    others = [found for found in order if not found["name"].startswith(f"{row['kernel']} ")]
    if not row["fastest"] or not others:
        return ""
    times = others[0]["milliseconds"] / row["fastest"]
    return f"{others[0]['name'].split()[0]} {times:.2f}x"
