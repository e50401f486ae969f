"""Commands that train: `train`, `compress`, `apply`, `demo`."""

from __future__ import annotations

import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from lighten.cli import options as opt
from lighten.cli import show
from lighten.errors import InputError

STOPPED = "Stopped. What was done is kept: run the same command again with --resume."


def train(
    network: opt.Network,
    data: opt.Data,
    output: Annotated[Path, typer.Option("-o", "--output", help="where the weights go")],
    epochs: Annotated[float, typer.Option("--epochs", min=0.01, help="passes over train")] = 20.0,
    weights: opt.Weights = None,
    vocab: opt.Vocab = None,
    lr: opt.LearningRate = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="sgd or adamw; else what suits the network")
    ] = None,
    samples: Annotated[int, typer.Option("--batch", min=2, help="samples per step")] = 128,
    seed: opt.Seed = 0,
    skip_corrupt: opt.SkipCorrupt = 0,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a stopped run")] = False,
    json: opt.JsonFile = None,
) -> None:
    """Train NETWORK on DATA from scratch (or from --weights).

    Example: [bold]lighten train zoo:lenet5 --data mnist.npz --epochs 5 -o lenet5.safetensors[/]
    """
    from lighten import api
    from lighten.network.weights import save_weights

    data = opt.with_tokenizer(data, vocab, network, weights)
    with show.progress() as progress:
        task = api.load_task(data, seed=seed, skip_corrupt=skip_corrupt, progress=progress)
        net = api.load_network(network, weights=weights, task=task, seed=seed)
        fresh = weights is None and (network.startswith("zoo:") or ".py:" in network)
        training = api.usual_training(net, task, optimizer, started=not fresh)
        training = replace(training, epochs=epochs, batch=samples, lr=lr or training.lr, seed=seed)
        checkpoint = output.with_name(f".{output.name}.checkpoint")
        if not resume:
            checkpoint.unlink(missing_ok=True)
        try:
            result = api.train(net, task, training, checkpoint=checkpoint, progress=progress)
        except KeyboardInterrupt:
            show.err.print(STOPPED)
            sys.exit(130)
        save_weights(net, output)
        checkpoint.unlink(missing_ok=True)
    for note in task.notes:
        show.out.print(note, markup=False, highlight=False)
    metric = task.metric
    rows = [(split, f"{result[split]:.2f}") for split in ("valid", "test")]
    show.table(f"{network} → {output}", ("split", f"{metric.name} ({metric.unit})"), rows)
    show.save(json, {"weights": str(output), **result})


def compress(
    network: opt.Network,
    data: opt.Data,
    weights: opt.Weights = None,
    vocab: opt.Vocab = None,
    latency: Annotated[str | None, typer.Option("--latency", help="0.25x or 2ms")] = None,
    size: Annotated[str | None, typer.Option("--size", help="0.2x or 300kB")] = None,
    macs: Annotated[str | None, typer.Option("--macs", help="0.5x or 20M")] = None,
    drop: Annotated[
        float, typer.Option("--drop", help="what the metric may lose, in its unit")
    ] = 1.0,
    reference: opt.Reference = "onnxruntime",
    backend: opt.Backend = "auto",
    threads: opt.Threads = 1,
    batch: opt.BatchSize = 1,
    epochs: opt.Epochs = None,
    lr: opt.LearningRate = None,
    time: Annotated[str, typer.Option("--time", help="wall time to spend: 90s, 40m, 2h")] = "45m",
    ignore: opt.Ignore = None,
    control: Annotated[
        bool, typer.Option("--control", help="also train matched runs: no distillation; dense")
    ] = False,
    searcher: Annotated[str, typer.Option("--search", help="solver, uniform or random")] = "solver",
    seed: opt.Seed = 0,
    skip_corrupt: opt.SkipCorrupt = 0,
    out: opt.Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a stopped run")] = False,
    json: opt.JsonFile = None,
) -> None:
    """Find the network that meets the budget on this machine.

    Example: [bold]lighten compress zoo:resnet20 --weights w.safetensors --data cifar10.tar
    --latency 0.33x --drop 1.0[/]
    """
    from lighten import api
    from lighten.core.budget import Budget

    budget = Budget(latency, size, macs, drop)
    chosen = api.Options(
        backend=backend,
        reference=reference,
        threads=threads,
        batch=batch,
        epochs=epochs,
        lr=lr,
        time=opt.seconds(time),
        ignore=tuple(ignore or ()),
        control=control,
        searcher=searcher,
        seed=seed,
        out=out or default_out(network),
        resume=resume,
    )
    data = opt.with_tokenizer(data, vocab, network, weights)
    with show.progress() as progress:
        api.check_backends(chosen)
        task = api.load_task(data, seed=seed, skip_corrupt=skip_corrupt, progress=progress)
        net = api.load_network(network, weights=weights, task=task, trained=True)
        named = api.Named(network, data, command())
        result = stoppable(lambda: api.compress(net, task, budget, chosen, progress, named))
    finish(result, json)


def apply(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="a recipe.yaml")],
    network: opt.Network,
    data: opt.Data,
    weights: opt.Weights = None,
    vocab: opt.Vocab = None,
    reference: opt.Reference = "onnxruntime",
    backend: opt.Backend = "auto",
    threads: opt.Threads = 1,
    batch: opt.BatchSize = 1,
    skip_corrupt: opt.SkipCorrupt = 0,
    out: opt.Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a stopped run")] = False,
    json: opt.JsonFile = None,
) -> None:
    """Replay RECIPE exactly, without any search.

    Example: [bold]lighten apply out/resnet20/recipe.yaml zoo:resnet20 --weights w.safetensors
    --data cifar10.tar[/]
    """
    from lighten import api

    chosen = api.Options(
        backend=backend,
        reference=reference,
        threads=threads,
        batch=batch,
        out=out,
        resume=resume,
    )
    data = opt.with_tokenizer(data, vocab, network, weights)
    with show.progress() as progress:
        api.check_backends(chosen)
        replayed = api.read_recipe(recipe)
        task = api.load_task(
            data, seed=replayed.training.seed, skip_corrupt=skip_corrupt, progress=progress
        )
        net = api.load_network(network, weights=weights, task=task, trained=True)
        named = api.Named(network, data, command())
        result = stoppable(lambda: api.replay(net, task, replayed, chosen, progress, named))
    finish(result, json)


def demo(
    out: Annotated[Path, typer.Option("--out", help="where the run goes")] = Path("out/demo"),
    backend: opt.Backend = "auto",
    seed: opt.Seed = 0,
    json: opt.JsonFile = None,
) -> None:
    """Train a small CNN on real handwritten digits, then compress it to a budget."""
    from lighten import api
    from lighten.core.budget import Budget
    from lighten.core.recipe import Training

    forget(out)
    data, network = "builtin:digits", "zoo:digits_cnn"
    with show.progress() as progress:
        task = api.load_task(data, seed=seed)
        net = api.load_network(network, task=task, seed=seed)
        training = Training(epochs=15, batch=64, lr=0.1, signals=(("task", 1.0),), seed=seed)
        trained = api.train(net, task, training, progress=progress)
        show.err.print(f"The network is trained: {trained['valid']:.1f} % on valid.")
        budget = Budget(latency="0.3x", size="0.15x", drop=1.0)
        chosen = api.Options(backend=backend, time=75.0, seed=seed, out=out)
        api.check_backends(chosen)
        named = api.Named(network, data, f"lighten demo --seed {seed} --out {out}")
        result = stoppable(lambda: api.compress(net, task, budget, chosen, progress, named))
    finish(result, json)


def forget(out: Path) -> None:
    """Remove an earlier demo; a folder that holds anything else is left as it is."""
    if (out / "run.json").exists():
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and holds no demo.", "Give another --out.")


def stoppable(work: Any) -> Any:
    """Run `work`; after Ctrl-C, say how to go on and leave with 130."""
    try:
        return work()
    except KeyboardInterrupt:
        show.err.print(STOPPED)
        sys.exit(130)


def finish(result: Any, json: Path | None) -> None:
    """Show the result and where it lies."""
    show.before_after(result.summary)
    show.out.print(f"Model, recipe and report: {result.folder}/", markup=False, highlight=False)
    show.save(json, result.summary)


def default_out(network: str) -> Path:
    """A folder under out/ named after the network; a run's own folder gets a sibling.

    >>> default_out("zoo:resnet20?classes=10"), default_out("/nets/a.py:make")
    (PosixPath('out/resnet20'), PosixPath('out/a-make'))
    """
    if Path(network).is_dir():
        folder = Path(network).resolve()
        return folder.with_name(f"{folder.name}-further")
    file, _, factory = network.removeprefix("zoo:").split("?")[0].partition(".py:")
    name = Path(file).stem
    return Path("out") / (f"{name}-{factory}" if factory else name)


def command() -> str:
    """What the user typed."""
    return shlex.join(["lighten", *(word for word in sys.argv[1:] if word != "--resume")])
