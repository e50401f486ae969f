"""`python -m lighten.train`: a tiny network learns the builtin digits in a second or two."""

from __future__ import annotations

import torch
from torch import nn

from lighten.core.recipe import Training
from lighten.data import load
from lighten.train import Progress, Session, fit

BARS = "▁▂▃▄▅▆▇█"


def tiny() -> nn.Sequential:
    """Two convolutions and a linear layer: 6,570 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def curve(values: list[float], width: int = 60) -> str:
    """The means of `width` stretches of `values`, as a line of bars."""
    stretches = [
        values[i * len(values) // width : (i + 1) * len(values) // width] or [values[-1]]
        for i in range(width)
    ]
    means = [sum(stretch) / len(stretch) for stretch in stretches]
    low, high = min(means), max(means)
    return "".join(BARS[round((m - low) / ((high - low) or 1.0) * (len(BARS) - 1))] for m in means)


def main() -> None:
    """Train, and print the loss as a curve and the quality after every few epochs."""
    torch.manual_seed(0)
    last: list[Progress] = []
    session = Session(progress=last.append, valid_every=4)
    training = Training(epochs=20, batch=32, lr=0.1)
    history = fit(tiny(), load("builtin:digits"), training, session=session)
    print(f"loss  {history.losses[0]:.3f} {curve(list(history.losses))} {history.losses[-1]:.3f}")
    print(f"rate  {last[0].lr:.3f} {curve([p.lr for p in last])} {last[-1].lr:.3f}")
    for step, quality in history.valid:
        print(f"step {step:4d} of {history.steps}: {quality:5.1f} % of valid right")
    print(f"{history.images_per_second:,.0f} digits/s in {history.precision}")


if __name__ == "__main__":
    main()
