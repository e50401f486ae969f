"""The instruction sets that code is emitted for, and which of them this machine has."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from lighten.errors import InputError

VARIABLE = "LIGHTEN_ISA"


@dataclass(frozen=True)
class Isa:
    """One instruction set: float32 numbers in a register, registers, and what LLVM calls it.

    `fused` says whether a·b + c is one instruction; where it is not, it is two, rounded twice.
    `pause` is what a loop that waits for another thread tells the core: an intrinsic and what it
    takes.
    """

    name: str
    lanes: int
    registers: int
    fused: bool
    needs: tuple[str, ...]
    cpu: str = ""
    pause: tuple[str, str] = ("llvm.x86.sse2.pause", "")

    @property
    def features(self) -> str:
        """As LLVM's target-features attribute takes them."""
        return ",".join(f"+{feature}" for feature in self.needs)


_AVX2 = ("avx2", "fma", "f16c", "bmi2")
_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl")
# the widest first
ISAS: Mapping[str, Isa] = {
    isa.name: isa
    for isa in (
        Isa("avx512", 16, 32, True, (*_AVX2, *_AVX512), "skylake-avx512"),
        Isa("avx2", 8, 16, True, _AVX2, "haswell"),
        Isa("x86-64", 4, 16, False, (), "x86-64"),
        Isa("neon", 4, 32, True, ("neon",), "generic", ("llvm.aarch64.hint", "i32 1")),
    )
}
BASELINE = {"x86_64": "x86-64", "AMD64": "x86-64", "aarch64": "neon", "arm64": "neon"}


def host() -> Isa:
    """The widest instruction set of this machine, or the one that `$LIGHTEN_ISA` narrows it to.

    InputError for a name that is not in `ISAS`, or that this machine cannot run.

    >>> host().lanes in (4, 8, 16)
    True
    """
    return _host(os.environ.get(VARIABLE, ""))


@functools.cache
def _host(wanted: str) -> Isa:
    found = supported(features(), platform.machine())
    if not wanted:
        return found[0]
    names = [isa.name for isa in found]
    if wanted not in names:
        raise InputError(
            f"{VARIABLE} must be one of {', '.join(names)} on this machine, but is {wanted!r}."
        )
    return ISAS[wanted]


def supported(features: frozenset[str], machine: str) -> list[Isa]:
    """The instruction sets that a machine with these features can run, the widest first."""
    if machine not in BASELINE:
        known = ", ".join(sorted(set(BASELINE)))
        raise InputError(f"The engine emits code for {known}, but this machine is {machine!r}.")
    base = ISAS[BASELINE[machine]]
    if base.name == "neon":
        return [base]
    return [isa for isa in ISAS.values() if isa.name != "neon" and features.issuperset(isa.needs)]


@functools.cache
def features() -> frozenset[str]:
    """What LLVM says that this processor has."""
    import llvmlite.binding as llvm

    try:
        found = llvm.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know this processor
        return frozenset()
    return frozenset(name for name, there in found.items() if there)
