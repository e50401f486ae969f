"""Choosing kernels by timing them on this machine, with a guard on their error.

Every candidate for a convolution is built and run on seeded noise. One that is further from the
float64 sum than the tolerance is not chosen, however fast. What was found is kept beside the other
measurements of this machine, and every later plan goes by it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lighten.core.files import cache_dir, write_json
from lighten.emit import Isa, bfloat16, build, features
from lighten.engine import choose
from lighten.engine.memory import aligned
from lighten.engine.pairs import joined
from lighten.errors import WriteError
from lighten.kernels import costs, grouped, requantize, share
from lighten.kernels.shapes import Conv
from lighten.program.integers import Ends, codes_of
from lighten.program.ir import Program

Array = np.ndarray[Any, Any]
Tell = Callable[[str, int, int], None]
FOLDER, VERSION = "kernels", 7
TOLERANCE = 1e-4  # max |y − y64| / max |y64|
AS_FAST = 1.01  # times the fastest, which is no more than timing errs by
PAIRED = 1e-2  # the same where bfloat16 is allowed: each number is off by up to 2^-9 of itself
BURST, ROUNDS = 2e-3, 5  # seconds of one burst; the best of so many counts
COLD, COOL = 40 << 20, 2 << 20  # bytes of weights between two uses: more than a cache keeps
MOST_MACS = 4e8  # of the float64 check, which is done on fewer filters where they are many


@dataclass(frozen=True)
class Found:
    """What one candidate did: its name, milliseconds per sample, its error."""

    name: str
    milliseconds: float
    error: float


def tune(program: Program, isa: Isa, seconds: float, tell: Tell | None = None) -> int:
    """Time the candidates of every convolution that was not timed before, until the time is up;
    how many convolutions were.
    """
    end, timed = time.monotonic() + seconds, 0
    shapes = list(unknown(program, isa))
    for done, conv in enumerate(shapes):
        if time.monotonic() > end:
            break
        if tell is not None:
            tell("tuning", done, len(shapes))
        keep(conv, isa, [measure(choice, isa) for choice in choose.candidates(conv, isa)])
        timed += 1
    Noise.of.cache_clear()
    return timed


def unknown(program: Program, isa: Isa) -> Iterator[Conv]:
    """The distinct convolutions of a program that this machine has not timed: those of one sample,
    then those of many.
    """
    seen: set[Conv] = set()
    whole = joined(program)
    for batch in (1, choose.MANY):
        for _, asked in choose.asked(whole, isa, batch):
            conv = plainly(asked)
            if conv not in seen and choose.candidates(conv, isa) and recall(conv, isa) is None:
                seen.add(conv)
                yield conv


def plainly(conv: Conv) -> Conv:
    """What kernels are told apart by: neither residual nor activation changes which is best."""
    return replace(conv, residual=None, activation="")


def tolerance(isa: Isa) -> float:
    """The largest error that is let pass where nothing else is said."""
    return PAIRED if bfloat16.has_pairs(isa) else TOLERANCE


@dataclass(frozen=True)
class Noise:
    """What the candidates for a convolution are run on: samples, weights, what lies where its bias
    does, and the results for the last sample, for as many filters as take little time.
    """

    x: Array
    weight: Array
    bias: Array
    exact: Array

    @classmethod
    @functools.lru_cache(maxsize=1)
    def of(cls, conv: Conv) -> Noise:
        """Seeded; kept for the next candidate."""
        rng, source = np.random.default_rng(0), conv.source
        if source.size == 1:
            return cls.of_codes(conv)
        x = rng.standard_normal((conv.batch, source.channels, source.height, source.width))
        per = source.channels // conv.groups
        shape = (conv.target.channels, per, *conv.window.kernel)
        w = (rng.standard_normal(shape) / np.sqrt(per)).astype(np.float32)
        count, x = _checked(conv), x.astype(np.float32)
        last, zeros = x[-1:].astype(np.float64), [0.0] * count
        bias = np.zeros(conv.target.blocks * conv.target.lanes, np.float32)
        return cls(x, w, bias, grouped.reference(conv, last, w[:count], zeros))

    @classmethod
    def of_codes(cls, conv: Conv) -> Noise:
        """Codes and int8 weights, and the results in codes or in floats."""
        rng, source, count = np.random.default_rng(0), conv.source, _checked(conv)
        size = (conv.batch, source.channels, source.height, source.width)
        x = rng.integers(0, 255, size, np.uint8, endpoint=True)
        shape = (conv.target.channels, source.channels // conv.groups, *conv.window.kernel)
        w = rng.integers(-127, 127, shape, np.int8, endpoint=True)
        last, wide = x[-1:].astype(np.float64), w[:count].astype(np.float64)
        sums = grouped.reference(conv, last, wide, [0.0] * count)
        step = np.float32(100 / max(np.abs(sums).max(), 1.0))
        ends, r = Ends(0.0, 255.0), sums.astype(np.float32) * step
        zeros, lanes = np.zeros(len(w), np.int32), conv.target.blocks * conv.target.lanes
        bias = requantize.pack(zeros, np.full(len(w), step), ends, lanes)
        return cls(x, w, bias, codes_of(r, ends) if conv.target.size == 1 else r)


def _checked(conv: Conv) -> int:
    """How many filters are compared."""
    filters = conv.target.channels
    return max(1, min(filters, int(MOST_MACS / (conv.macs / filters))))


def measure(choice: choose.Choice, isa: Isa) -> Found:
    """One candidate, timed and compared with the float64 sum."""
    conv = replace(choice.conv, source=choice.conv.source.with_halo(choice.halo))
    kernel, schedule, noise = choice.kernel, choice.schedule, Noise.of(choice.conv)
    packed = kernel.pack(noise.weight, conv, schedule)
    held = [_on_line(conv.source.pack(noise.x)), _on_line(packed)]
    held += [_on_line(noise.bias)] * 2
    kind = np.float32 if conv.target.size == 4 else np.uint8
    held.append(_on_line(np.zeros((conv.batch, *conv.target.shape), kind)))
    if kernel.workspace(conv, schedule):
        held.append(aligned(kernel.workspace(conv, schedule)))
    kinds = [ctypes.c_void_p] * len(held)
    call = build([kernel.emit("kernel", conv, schedule, isa)]).function(
        "kernel", *kinds, *share.KINDS
    )
    places = [array.ctypes.data for array in held]
    copies = [_on_line(packed) for _ in range(_copies(packed.nbytes, conv.remote))]
    weights = [places[1], *(copy.ctypes.data for copy in copies)]
    call(*places, conv.batch, *share.ALONE[1:])
    error = _error(conv.target.unpack(held[4])[-1:], noise.exact)
    return Found(choice.name, _best(call, places, weights, conv.batch) / conv.batch, error)


def _copies(size: int, remote: bool) -> int:
    """So many more copies of weights that each is read cold, as in a whole network: from memory, or
    from the last cache.
    """
    return min((COLD if remote else COOL) // size, 12) if size > costs.FEW else 0


def _best(call: Any, places: list[int], weights: list[int], batch: int) -> float:
    """Milliseconds of one call: the best of a few bursts."""
    found = []
    for _ in range(ROUNDS):
        calls, begun = 0, time.perf_counter()
        while (taken := time.perf_counter() - begun) < BURST or not calls:
            places[1] = weights[calls % len(weights)]
            call(*places, batch, *share.ALONE[1:])
            calls += 1
        found.append(1e3 * taken / calls)
    return min(found)


def _error(found: Array, exact: Array) -> float:
    """How far it is from the float64 sums."""
    difference = np.abs(found[:, : exact.shape[1]].astype(np.float64) - exact).max()
    return float(difference / max(np.abs(exact).max(), 1e-30))


def _on_line(x: Array) -> Array:
    held = aligned(x.nbytes).view(x.dtype).reshape(x.shape)
    held[...] = x
    return held


# ── what was found ────────────────────────────────────────────────────────────────────────────


def keep(conv: Conv, isa: Isa, found: Iterable[Found]) -> None:
    """Write down what was measured; where that fails, it is measured again another time."""
    with suppress(WriteError, OSError):
        write_json(_path(conv, isa), {"conv": repr(conv), "found": [asdict(f) for f in found]})


def recall(conv: Conv, isa: Isa) -> list[Found] | None:
    """What was measured of a convolution on this machine, or None."""
    try:
        held = json.loads(_path(conv, isa).read_text(encoding="utf-8"))
        found = [
            Found(str(one["name"]), float(one["milliseconds"]), float(one["error"]))
            for one in held["found"]
        ]
        return found if held["conv"] == repr(conv) else None
    except (OSError, ValueError, LookupError, TypeError, WriteError):
        return None


def records(chosen: Iterable[choose.Choice], isa: Isa) -> list[str]:
    """Where it is written down what is known of these, in the cache; whether it is there or not."""
    found = {_path(plainly(choice.conv), isa).name for choice in chosen}
    return [f"{FOLDER}/{name}" for name in sorted(found)]


def pick(
    conv: Conv, isa: Isa, options: Sequence[choose.Choice], tolerance: float = TOLERANCE
) -> choose.Choice:
    """The fastest measured of the options that is within the tolerance, and of those as fast the
    one that works in the least memory: in more steps, which threads share out best; else the one
    predicted to be the fastest of those never measured; else the least wrong.
    """
    named = {found.name: found for found in recall(plainly(conv), isa) or ()}
    right = [c for c in options if c.name in named and named[c.name].error <= tolerance]
    if right:
        enough = AS_FAST * min(named[c.name].milliseconds for c in right)
        fast = [c for c in right if named[c.name].milliseconds <= enough]
        room = {c.name: c.kernel.workspace(c.conv, c.schedule) for c in fast}
        return min(fast, key=lambda c: (room[c.name], named[c.name].milliseconds))
    open_ = [c for c in options if c.name not in named]
    if open_:
        return min(open_, key=lambda c: c.cycles)
    return min(options, key=lambda c: named[c.name].error)


def timed() -> int:
    """How many convolutions were timed on this machine, or one that shares its cache."""
    try:
        return sum(1 for _ in (cache_dir() / FOLDER).glob("*.json"))
    except WriteError:
        return 0


def _path(conv: Conv, isa: Isa) -> Path:
    made_for = (VERSION, isa.name, sorted(features()), repr(conv))
    name = hashlib.sha256(repr(made_for).encode()).hexdigest()[:24]
    return cache_dir() / FOLDER / f"{name}.json"
