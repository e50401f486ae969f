"""Object files for this processor or another: what LLVM is asked, and constants put into them."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from lighten.emit.build import in_order
from lighten.emit.integers import FEATURES, VNNI, instructions
from lighten.emit.isa import BASELINE, ISAS, Isa, host
from lighten.errors import InputError

ELSEWHERE = {"x86-64": "x86_64-unknown-linux-gnu", "neon": "aarch64-unknown-linux-gnu"}
# processors by their names in LLVM → the instruction set that is used of them
CPUS: Mapping[str, str] = {
    **dict.fromkeys(("nehalem", "sandybridge", "x86-64-v2"), "x86-64"),
    **dict.fromkeys(("haswell", "broadwell", "skylake", "alderlake", "x86-64-v3"), "avx2"),
    **dict.fromkeys(("znver1", "znver2", "znver3"), "avx2"),
    **dict.fromkeys(("skylake-avx512", "cascadelake", "icelake-server"), "avx512"),
    **dict.fromkeys(("sapphirerapids", "znver4", "znver5", "x86-64-v4"), "avx512"),
    **dict.fromkeys(("cortex-a53", "cortex-a72", "cortex-a76", "apple-m1"), "neon"),
    **dict.fromkeys(("neoverse-n1", "neoverse-v1", "neoverse-n2"), "neon"),
}
# those that have the dot product of codes
DOTS = ("cascadelake", "icelake-server", "sapphirerapids", "znver4", "znver5")


@dataclass(frozen=True)
class Target:
    """What an object file is made for: an instruction set on a processor, and LLVM's triple."""

    isa: Isa
    triple: str

    def for_codes(self) -> Target:
        """The same, with the dot product of codes where the processor is known to have it."""
        if self.isa.cpu in DOTS:
            needs = (*self.isa.needs, FEATURES[self.isa.name])
            return replace(self, isa=replace(self.isa, name=self.isa.name + VNNI, needs=needs))
        return replace(self, isa=instructions()) if self == target() else self


def target(name: str = "") -> Target:
    """The processor of that name in `CPUS`, or any that has the instruction set of that name; this
    machine without one. InputError for others.

    >>> target("znver3").isa.name, target("neon").isa.lanes
    ('avx2', 4)
    """
    if not name:
        return Target(host(), _triple(host()))
    if name in ISAS:
        return Target(ISAS[name], _triple(ISAS[name]))
    if name not in CPUS:
        known = (*ISAS, *CPUS)
        near = get_close_matches(name, known, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"--cpu must be one of {', '.join(known)}, but got {name!r}.{guess}")
    isa = replace(ISAS[CPUS[name]], cpu=name)
    return Target(isa, _triple(isa))


def _triple(isa: Isa) -> str:
    """This system's, where the processor is of its kind; else Linux's."""
    import llvmlite.binding as llvm

    family = "neon" if isa.name == "neon" else "x86-64"
    here = BASELINE.get(platform.machine()) == family
    return str(llvm.get_default_triple()) if here else ELSEWHERE[family]


def emit_object(text: str, symbol: str, data: bytes, target: Target) -> bytes:
    """The object file of a module in LLVM IR that reads `data` under the name `symbol`.

    The data is put in after LLVM is done, in place of its own digest and zeros: as text it would
    be several times as long, and slow to read.
    """
    stamp = hashlib.sha512(data).digest()
    rest = max(len(data) - len(stamp), 0)
    escaped = "".join(f"\\{byte:02X}" for byte in stamp)
    held = (
        f"@{symbol} = internal constant <{{ [{len(stamp)} x i8], [{rest} x i8] }}> "
        f'<{{ [{len(stamp)} x i8] c"{escaped}", [{rest} x i8] zeroinitializer }}>, align 64\n'
    )
    made = bytearray(_compiled(held + text, target))
    place = made.find(stamp)
    if place < 0:
        return bytes(made)  # nothing reads it
    made[place : place + len(stamp) + rest] = data.ljust(len(stamp) + rest, b"\0")
    return bytes(made)


def _compiled(text: str, target: Target) -> bytes:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine: Any = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.isa.cpu, features=target.isa.features, opt=3, reloc="pic", codemodel="small"
    )
    with in_order():
        parsed = llvm.parse_assembly(text)
        parsed.triple, parsed.data_layout = target.triple, str(machine.target_data)
        parsed.verify()
        return bytes(machine.emit_object(parsed))
