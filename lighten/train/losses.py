"""What a network is told by the labels: a table of losses over float32 answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from lighten.errors import DataError, RecipeError
from lighten.train.detection import detection
from lighten.train.outputs import logits_of

Loss = Callable[[Any, Any], Tensor]  # (outputs, target) → scalar


def classes_first(logits: Tensor, target: Tensor) -> Tensor:
    """Logits with their classes on axis 1, as torch's cross-entropy wants them.

    `[n, …, K]` against a target `[n, …]` is moved; `[n, K, …]` stays.
    """
    last = logits.ndim > 2 and logits.shape[:-1] == target.shape
    return logits.movedim(-1, 1) if last and logits.shape[2:] != target.shape[1:] else logits


def cross_entropy(logits: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy in nats, mean over samples; `target` holds class numbers or probabilities.

    `smoothing` ε mixes the labels with the uniform distribution, `(1−ε)·y + ε/K` (Szegedy 2016).
    """
    logits = classes_first(logits, target)
    return F.cross_entropy(logits, target, label_smoothing=smoothing)


def _like(target: Tensor, answer: Tensor) -> Tensor:
    if target.numel() != answer.numel():
        raise DataError(
            "Targets must have as many numbers as the network's answer "
            f"{tuple(answer.shape)}, but got {tuple(target.shape)}."
        )
    return target.to(answer.dtype).reshape(answer.shape)


def mse(answer: Tensor, target: Tensor) -> Tensor:
    """The mean squared difference."""
    return F.mse_loss(answer, _like(target, answer))


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of independent yes/no answers, from logits; targets are 0, 1 or between."""
    return F.binary_cross_entropy_with_logits(logits, _like(target, logits))


def l1(answer: Tensor, target: Tensor) -> Tensor:
    """The mean absolute difference; sharper images than `mse` gives (Zhao et al. 2017)."""
    return F.l1_loss(answer, _like(target, answer))


def similarity(answer: Tensor, target: Tensor) -> Tensor:
    """How far the cosines of all pairs in a batch are from those of their targets, squared, mean.

    Embeddings `[n, d]` against vectors `[n, k]` whose cosines are the true similarities; times
    100, as if cosines were in percent of 10. Source: Park et al. 2019, "Relational Knowledge
    Distillation", for whole batches of pairs.
    """
    said, told = (F.normalize(v.float().flatten(1), dim=1) for v in (answer, target))
    return 100.0 * F.mse_loss(said @ said.T, told @ told.T)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "binary_cross_entropy": binary_cross_entropy,
    "l1": l1,
    "similarity": similarity,
    "detection": detection,
}


def loss_of(loss: str | Loss, smoothing: float = 0.0) -> Loss:
    """The loss of a task, ready to call with (outputs, target).

    A row of `LOSSES` reads the answer among the outputs (`logits_of`); a callable gets them all.

    >>> round(loss_of("cross_entropy")(torch.zeros(1, 4), torch.tensor([2])).item(), 4)
    1.3863
    """
    if smoothing and loss != "cross_entropy":
        raise RecipeError(
            f"label_smoothing must be 0 where the loss is not cross_entropy, but got {smoothing}."
        )
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise RecipeError(f"The loss must be one of {', '.join(LOSSES)}, got {loss!r}.")
    row = LOSSES[loss]
    options = {"smoothing": smoothing} if smoothing else {}
    return lambda outputs, target: row(logits_of(outputs), target, **options)
