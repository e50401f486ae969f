"""How near a restored image is to the true one."""

from __future__ import annotations

from typing import Any

import numpy as np

from lighten.core.task import Array, Metric

HIGHEST = 100.0  # dB, of images that are equal


def psnr(peak: float = 1.0, border: int = 0) -> Metric:
    """The mean over images of 10·log₁₀(peak² / mean squared error), in dB, at most 100.

    Outputs and targets are `[n, c, h, w]`; answers are clipped to 0 … `peak`, and `border` pixels
    at each edge are left out, as is usual in super-resolution (Timofte et al. 2014).

    >>> metric = psnr()
    >>> round(metric.reduce(metric.rows(np.full((1, 1, 2, 2), 0.5), np.full((1, 1, 2, 2), 0.6))), 2)
    20.0
    """

    def rows(outputs: Any, target: Any) -> Array:
        answer = np.clip(np.asarray(outputs, np.float64), 0.0, peak)
        truth = np.asarray(target, np.float64).reshape(answer.shape)
        height, width = answer.shape[2:]
        inside = np.s_[:, :, border : height - border, border : width - border]
        error = np.square(answer[inside] - truth[inside]).mean(axis=(1, 2, 3))
        floor = peak**2 * 10.0 ** (-HIGHEST / 10.0)
        found: Array = 10.0 * np.log10(peak**2 / np.maximum(error, floor))
        return found

    return Metric("PSNR", "dB", rows=rows, reduce=mean)


def mean(rows: Array) -> float:
    """The mean of all rows."""
    return float(rows.mean())
