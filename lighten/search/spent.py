"""Where the time of a call goes: measured whole, and split by what the runtime's profile says.

A profile times every op by itself, which slows small ones down; the whole call is timed without it.
So the parts are scaled down where they exceed the whole, and never up: what is left over is said to
be left over. What a network of no ops takes is the call's own; where that was measured longer than
the whole (another process was busy then, not now), call and ops are scaled down alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lighten.core.protocols import Backend
from lighten.program.ir import Program
from lighten.search.workbench import Workbench

PROFILED = 50  # calls
ADDED = "added by the runtime"  # kind of what is none of the Program's ops


def spent(
    bench: Workbench, backend: Backend, program: Program, timed: tuple[str, float]
) -> dict[str, Any]:
    """The parts of a call in ms: ops with their kinds, the call itself, and the rest.

    `timed` is a name for the network and the milliseconds of a whole call of it.
    """
    name, total = timed
    use = f"{bench.options.threads}t{bench.options.batch}b"

    def measured() -> Mapping[str, float]:
        executable = backend.compile(program, bench.options.threads)
        return dict(executable.profile(bench.inputs, PROFILED))

    found = bench.remember(f"profile/{backend.name}/{use}/{name}", measured)
    return {"backend": backend.name, **parts(program, found, total, bench.floor(backend))}


def parts(
    program: Program, profile: Mapping[str, float], total: float, call: float
) -> dict[str, Any]:
    """The split of `total` ms: `call` ms for the call itself, the profile's ops in what is left.

    `scale` is what a profiled millisecond counts for: below 1 where profiling slowed the ops.
    """
    kinds = {op.name: op.kind for op in program.ops} | dict.fromkeys(program.inputs, "cast")
    profiled = sum(profile.values())
    if call < total:
        scale = min(1.0, (total - call) / profiled) if profiled > 0 else 1.0
    else:
        scale = total / (call + profiled)
        call *= scale
    ops = [
        {"name": name, "kind": kinds.get(name, ADDED), "ms": scale * ms}
        for name, ms in profile.items()
    ]
    rest = max(0.0, total - call - scale * profiled)
    return {"total_ms": total, "call_ms": call, "rest_ms": rest, "scale": scale, "ops": ops}
