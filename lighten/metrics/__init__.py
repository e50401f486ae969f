"""Metrics by name: rows per sample, then one number, so that drops are paired and resampled.

    Task(…, loss="l1", metric=lighten.metrics.psnr())

Accuracy is the default of `Task`. Every metric here is higher-is-better. All but `psnr`, which is
in dB, are in points: 100 × a share or a correlation.
"""

from __future__ import annotations

from collections.abc import Callable

from lighten.core.task import Metric
from lighten.metrics.detection import COCO, average_precision
from lighten.metrics.embeddings import cosine, spearman
from lighten.metrics.images import psnr
from lighten.metrics.segmentation import miou

__all__ = ["COCO", "METRICS", "average_precision", "cosine", "miou", "psnr", "spearman"]

METRICS: dict[str, Callable[..., Metric]] = {
    "accuracy": Metric,
    "miou": miou,
    "average_precision": average_precision,
    "psnr": psnr,
    "spearman": spearman,
    "cosine": cosine,
}
