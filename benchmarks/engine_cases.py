"""The networks that `engine.py` and `int8.py` run: seeded weights and inputs; and the run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import common
import numpy as np
import torch
from torch import nn

from lighten import zoo

Arrays = tuple[np.ndarray[Any, Any], ...]


@dataclass(frozen=True)
class Case:
    """How a network is made, what it reads in a batch of n, and the larger batch."""

    make: Callable[[], nn.Module]
    inputs: Callable[[int], Arrays]
    larger: int


class States(nn.Module):
    """A `transformers` encoder as a function from arrays to its last hidden state."""

    def __init__(self, encoder: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder, self.names = encoder, names

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        """Hidden states `[n, tokens, size]`."""
        found = self.encoder(**dict(zip(self.names, given, strict=True)))
        return found.last_hidden_state  # type: ignore[no-any-return]


def images(name: str, side: int, larger: int) -> Case:
    """A network of the zoo over square images."""
    channels = zoo.TABLE[name].input_shape[0]

    def inputs(n: int) -> Arrays:
        draw = np.random.default_rng(0).standard_normal((n, channels, side, side))
        return (draw.astype(np.float32),)

    return Case(lambda: zoo.build(name), inputs, larger)


def vit() -> nn.Module:
    """ViT-Tiny/16 (Touvron et al. 2021): 12 layers of 192 with 3 heads."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768
    )
    return States(ViTModel(config, add_pooling_layer=False), ("pixel_values",))


def bert(size: int, layers: int, heads: int) -> Callable[[], nn.Module]:
    """A BERT encoder (Devlin et al. 2019), its feed-forward part four times as wide."""

    def make() -> nn.Module:
        from transformers import BertConfig, BertModel

        config = BertConfig(
            hidden_size=size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * size,
        )
        encoder = BertModel(config, add_pooling_layer=False)
        return States(encoder, ("input_ids", "attention_mask"))

    return make


def tokens(make: Callable[[], nn.Module], length: int, larger: int = 8) -> Case:
    """An encoder over sentences of so many tokens, none masked."""

    def inputs(n: int) -> Arrays:
        ids = np.random.default_rng(0).integers(0, 30000, (n, length))
        return ids, np.ones((n, length), np.int64)

    return Case(make, inputs, larger)


MINI, MINILM = bert(256, 4, 4), bert(384, 6, 12)  # Turc et al. 2019; Wang et al. 2020
CASES: dict[str, Case] = {
    **{name: images(name, 32, 32) for name in ("resnet20", "resnet56", "vgg16_bn")},
    **{
        name: images(name, 224, 4)
        for name in ("resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3")
    },
    **{name: images(name, 224, 4) for name in ("efficientnet_b0", "squeezenet", "densenet121")},
    "unet": images("unet", 224, 2),
    "vit_tiny": Case(vit, lambda n: images("resnet18", 224, 4).inputs(n), 4),
    "bert_mini": tokens(MINI, 128),
    **{f"minilm_{length}": tokens(MINILM, length) for length in (16, 128, 512)},
}
QUICK = ("resnet20", "resnet18", "mobilenet_v2", "minilm_128")


def run(
    script: str,
    about: str,
    measured: Callable[..., tuple[common.Row, list[str]]],
    table: Callable[[list[common.Row], list[list[str]]], str],
) -> None:
    """Measure every network, print and write a table for each number of threads. `measured` gives
    the row of (name, batch, threads) and its line, `table` makes Markdown of all of both.
    """
    found = common.parser(script, about, several_threads=True)
    found.add_argument("--only", nargs="+", choices=CASES, metavar="NAME", help="these networks")
    args: argparse.Namespace = found.parse_args()
    done: list[common.Row] = []
    for threads in args.threads:
        rows, lines = [], []
        for name in args.only or (QUICK if args.quick else CASES):
            for batch in (1,) if args.quick else (1, CASES[name].larger):
                row, line = measured(name, batch, threads, quick=args.quick)
                rows.append(row)
                lines.append(line)
                print(" | ".join(line), flush=True)
        done += rows
        these = argparse.Namespace(**{**vars(args), "threads": [threads]})
        common.publish(script, these, done, table(rows, lines), summed_up=False)
