"""Windows of a worn motion sensor: six activities, whose paces and strengths overlap.

Every activity is a rhythm with harmonics along a direction of its own; who wears the sensor
decides pace, strength and how it is turned, and gait is never quite regular. Modelled on the
phone data of Anguita et al. 2013 (50 Hz, accelerometer and gyroscope, 2.56 s).
"""

from __future__ import annotations

import numpy as np

from lighten.core.task import Array

ACTIVITIES = ("rest", "walk", "upstairs", "downstairs", "run", "cycle")
RATE, LENGTH = 50.0, 128  # samples per second, and per window
# activity → strides per second (mean, spread), strength, share of the second and third harmonic
RHYTHMS = (
    (0.3, 0.10, 0.15, 0.2, 0.1),
    (1.8, 0.20, 0.90, 0.5, 0.25),
    (1.6, 0.20, 0.80, 0.3, 0.40),
    (1.9, 0.22, 1.05, 0.7, 0.35),
    (2.6, 0.25, 1.70, 0.4, 0.20),
    (1.4, 0.25, 0.70, 0.15, 0.05),
)
NOISE = 0.8


def windows(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Signals `[n, 6, 128]` in float32, about one in size, and activities `[n]` as uint8."""
    kinds = rng.integers(0, len(ACTIVITIES), n)
    pace, spread, strength, second, third = np.array(RHYTHMS)[kinds].T
    pace = pace + spread * rng.normal(size=n)
    strength = strength * np.exp(0.25 * rng.normal(size=n))
    time = np.arange(LENGTH) / RATE
    wander = np.cumsum(rng.normal(0, 0.06, (n, LENGTH)), axis=1)  # gait is not a clock
    phase = 2 * np.pi * pace[:, None] * time + rng.uniform(0, 2 * np.pi, (n, 1)) + wander
    signal = np.zeros((n, 6, LENGTH))
    for order, usual in ((1, np.ones(n)), (2, second), (3, third)):
        share = usual * np.exp(0.3 * rng.normal(size=n))
        lag = LAGS[kinds, order - 1] + 0.3 * rng.normal(size=(n, 6))
        wave = np.sin(order * phase[:, None] + lag[..., None])
        signal += (strength * share)[:, None, None] * AXES[kinds, order - 1][..., None] * wave
    turn = turned(rng, n)
    signal[:, :3] = turn @ signal[:, :3]
    signal[:, 3:] = turn @ signal[:, 3:]
    drift = np.cumsum(rng.normal(0, 0.03, (n, 6, LENGTH)), axis=2)
    noise = rng.normal(0, NOISE, (n, 6, LENGTH)) * np.exp(0.4 * rng.normal(size=(n, 1, 1)))
    return (signal + drift + noise).astype(np.float32), kinds.astype(np.uint8)


def turned(rng: np.random.Generator, n: int) -> Array:
    """Rotations `[n, 3, 3]` by up to half a radian or so about a random axis (Rodrigues)."""
    axis = rng.normal(size=(n, 3))
    angle = 0.5 * rng.normal(size=n)
    x, y, z = (axis / np.linalg.norm(axis, axis=1, keepdims=True)).T
    zero = np.zeros(n)
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), axis=1).reshape(n, 3, 3)
    sine, rest = np.sin(angle)[:, None, None], (1 - np.cos(angle))[:, None, None]
    found: Array = np.eye(3) + sine * cross + rest * (cross @ cross)
    return found


def _directions() -> tuple[Array, Array]:
    """How each harmonic moves the six channels, and how late: `[activities, 3, 6]` both."""
    rng = np.random.default_rng(2013)
    shape = (len(ACTIVITIES), 3, 6)
    common = rng.normal(size=(1, 3, 6))  # activities resemble each other
    return 0.8 * common + 0.5 * rng.normal(size=shape), rng.uniform(0, 2 * np.pi, shape)


AXES, LAGS = _directions()
