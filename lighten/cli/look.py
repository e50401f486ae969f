"""Commands that look and do not change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lighten.cli import options as opt
from lighten.cli import show

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="an .onnx file, a run's folder, or a NETWORK")
]
Models = Annotated[
    list[str], typer.Argument(metavar="NETWORK…", help="networks, .onnx files or run folders")
]


def evaluate(
    model: Model,
    data: opt.Data,
    weights: opt.Weights = None,
    vocab: opt.Vocab = None,
    backend: opt.Backend = "auto",
    threads: opt.Threads = 1,
    split: Annotated[str, typer.Option("--split", help="test or valid")] = "test",
    skip_corrupt: opt.SkipCorrupt = 0,
    bf16: opt.Bf16 = False,
    json: opt.JsonFile = None,
) -> None:
    """Score MODEL on DATA in the engine that runs it.

    Example: [bold]lighten evaluate out/demo/model.onnx --data builtin:digits[/]
    """
    from lighten import inspection
    from lighten.subject import open_model

    data = opt.with_tokenizer(data, vocab, model, weights)
    with show.progress() as progress:
        subject = open_model(model, weights, data, skip_corrupt, progress)
        result = inspection.evaluate(subject, backend, threads, split, bf16)
    low, high = result["quality_interval"]
    row = (result["backend"], f"{result['quality']:.2f}", f"[{low:.2f}, {high:.2f}]")
    title = f"{model}, {split}: {result['samples']} samples"
    show.table(title, ("backend", f"{result['metric']} ({result['unit']})", "95 %"), [row])
    show.save(json, result)


def bench(
    models: Models,
    weights: opt.Weights = None,
    backend: opt.Timed = "auto",
    batch: Annotated[str, typer.Option("--batch", help="samples per call, such as 1,32")] = "1",
    threads: Annotated[str, typer.Option("--threads", help="CPU threads, such as 1,2")] = "1",
    data: Annotated[str | None, typer.Option("--data", help="gives the input's shape")] = None,
    vocab: opt.Vocab = None,
    input: opt.InputShape = None,
    bf16: opt.Bf16 = False,
    json: opt.JsonFile = None,
) -> None:
    """Time networks side by side, in alternation, on every backend here that they can be compressed
    for; with --backend all, beside torch.compile, too.

    Example: [bold]lighten bench zoo:resnet20 out/resnet20 --batch 1,32[/]
    """
    from lighten import inspection
    from lighten.subject import open_model

    data = opt.with_tokenizer(data, vocab, models[0], weights) if data else None
    sizes, cores = opt.whole_numbers(batch, "--batch"), opt.whole_numbers(threads, "--threads")
    with show.progress() as progress:
        subjects = [open_model(model, weights, data, 0, progress, input) for model in models]
        rows = inspection.bench(subjects, backend, sizes, cores, progress, bf16)
    for size in sizes:
        for count in cores:
            chosen = [r for r in rows if (r["batch"], r["threads"]) == (size, count)]
            cells = [(r["network"], r["backend"], *_time(r), r.get("failure", "")) for r in chosen]
            columns = ("network", "backend", "ms", "± ms", "to the fastest", "")
            show.table(f"batch {size}, {count} thread(s)", columns, cells)
    show.save(json, rows)


def _time(row: dict[str, float]) -> tuple[str, str, str]:
    if row.get("latency_ms") is None:
        return "-", "-", "-"
    return (
        f"{row['latency_ms']:.4f}",
        f"{row['latency_spread_ms']:.4f}",
        f"{row['ratio']:.2f}x",
    )


def analyze(
    model: Model,
    data: Annotated[str | None, typer.Option("--data", help="also measure sensitivity")] = None,
    weights: opt.Weights = None,
    vocab: opt.Vocab = None,
    backend: opt.Backend = "auto",
    threads: opt.Threads = 1,
    batch: opt.BatchSize = 1,
    input: opt.InputShape = None,
    json: opt.JsonFile = None,
) -> None:
    """Show, layer by layer, what a network costs and what it would stand to lose.

    Example: [bold]lighten analyze zoo:resnet20 --weights w.safetensors --data cifar10.tar[/]
    """
    from lighten import inspection
    from lighten.subject import open_model

    data = opt.with_tokenizer(data, vocab, model, weights) if data else None
    with show.progress() as progress:
        subject = open_model(model, weights, data, 0, progress, input)
        result = inspection.analyze(subject, backend, threads, batch, progress)
    sensitivity = result["metric"]
    columns = ["layer", "kind", "output", "MACs", "parameters", "bytes", "ms", "roofline ms"]
    cells = []
    for layer in result["layers"]:
        cell = [
            layer["name"],
            layer["kind"],
            "x".join(map(str, layer["output"])),
            show.count(layer["macs"]),
            show.count(layer["parameters"]),
            show.size(layer["bytes"]),
            f"{layer['time_ms']:.4f}" if layer["time_ms"] is not None else "-",
            f"{layer['roofline_ms']:.4f}",
        ]
        if sensitivity:
            value = layer["sensitivity"]
            cell.append(f"{value:.1f}" if value is not None else "-")
        cells.append([*cell, layer["uncut"]])
    if sensitivity:
        columns.append(f"{sensitivity} at 50 % zero")
    show.table(f"{model} on {result['backend']}", [*columns, "left alone because"], cells)
    total = result["total"]
    show.out.print(
        f"{show.count(total['macs'])} MACs, {show.count(total['parameters'])} parameters, "
        f"{total['latency_ms']:.4f} ms a call; {100 * total['share']:.0f} % of conv and linear "
        "MACs lie in groups that can be cut."
    )
    show.save(json, result)


def report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="a run's folder")],
) -> None:
    """Write a run's report.html again from what the run recorded.

    Example: [bold]lighten report out/demo[/]
    """
    from lighten.report import write_report

    show.out.print(str(write_report(directory)), markup=False, highlight=False)


def compare(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR DIR…", help="two or more runs' folders")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", help="also write a page with all fronts in one chart")
    ] = None,
    json: opt.JsonFile = None,
) -> None:
    """Lay runs side by side: what each was asked, what came out, and what cannot be compared.

    Example: [bold]lighten compare out/a out/b --html compared.html[/]
    """
    from lighten.report import runs as side_by_side
    from lighten.report.compare import write_comparison

    found = side_by_side.read(directories)
    columns = ("", *(run.name for run in found))
    show.table("Runs side by side", columns, side_by_side.table(found))
    for sentence in side_by_side.warnings(found):
        show.out.print(sentence, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if html:
        show.out.print(str(write_comparison(found, html)), markup=False, highlight=False)
    show.save(json, side_by_side.plainly(found))


def doctor(json: opt.JsonFile = None) -> None:
    """Show what this machine is, what is installed, what to install for the rest, and what our
    engine keeps.

    Example: [bold]lighten doctor[/]
    """
    from lighten import inspection

    found = inspection.doctor()
    show.table("This machine", ("", ""), list(found["device"].items()))
    show.table("Installed", ("package", "version"), list(found["versions"].items()))
    show.table("Backends", ("backend", "state"), list(found["backends"].items()))
    if found["engine"]:
        show.table("Our engine", ("", ""), list(found["engine"].items()))
    show.save(json, found)
