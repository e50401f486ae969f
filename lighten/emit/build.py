"""IR text to callable machine code, by LLVM. Objects are kept on disk and loaded from there."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lighten.emit import cache
from lighten.emit.function import Function, module
from lighten.emit.isa import Isa

Address = int
# objects made otherwise are others
HOW = "opt 3, no machine scheduler before registers, no loop strength reduction"
# LLVM's, with what we set them to while we compile, and what they are elsewhere
SWITCHES = (("enable-misched", "false", "true"), ("disable-lsr", "true", "false"))
_lock = threading.Lock()


class Library:
    """Machine code in memory; its functions are called by address. It lives as long as this.

    `name` is its object's in the cache.
    """

    def __init__(self, engine: Any, name: str) -> None:
        self._engine, self.name = engine, name

    def address(self, name: str) -> Address:
        """Where a function begins."""
        return int(self._engine.get_function_address(name))

    def function(self, name: str, *kinds: Any) -> Any:
        """A function as ctypes calls it, of ctypes argument types; it releases the GIL."""
        made = ctypes.CFUNCTYPE(None, *kinds)(self.address(name))
        made.library = self  # type: ignore[attr-defined]
        return made


def build(functions: Iterable[Function]) -> Library:
    """The functions and what they call, compiled for their instruction set, or loaded where that
    was done before.
    """
    listed = list(functions)
    name, code = object_code(module(listed), listed[0].isa)
    return _loaded(name, code, listed[0].isa)


def reload(name: str, isa: Isa) -> Library | None:
    """What was built before, by its object's name; None where the cache has it no more."""
    code = cache.get(name)
    return _loaded(name, code, isa) if code is not None else None


def llvm_version() -> str:
    """The version of the LLVM that compiles, such as 20.1.8."""
    import llvmlite.binding as llvm

    return ".".join(map(str, llvm.llvm_version_info))


def object_code(text: str, isa: Isa) -> tuple[str, bytes]:
    """A module's object file and its name: from the cache, or compiled now and kept there."""
    import llvmlite.binding as llvm

    name = cache.key(text, isa.name, llvm_version(), llvm.get_default_triple(), HOW)
    found = cache.get(name)
    if found is None:
        found = _compiled(text, isa)
        cache.put(name, found)
    return name, found


def _compiled(text: str, isa: Isa) -> bytes:
    import llvmlite.binding as llvm

    machine = _machine(isa)
    with in_order():
        parsed = llvm.parse_assembly(text)
        parsed.verify()
        return bytes(machine.emit_object(parsed))


def _loaded(name: str, code: bytes, isa: Isa) -> Library:
    import llvmlite.binding as llvm

    machine = _machine(isa)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Library(engine, name)


def _machine(isa: Isa) -> Any:
    import llvmlite.binding as llvm

    with _lock:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=isa.cpu, features=isa.features, opt=3, jit=True
    )


@contextmanager
def in_order() -> Iterator[None]:
    """Without LLVM's first instruction scheduler, which hoists loads over multiply-adds until
    registers spill (down to 41 % of the peak), and without its loop strength reduction, which takes
    two thirds of the time to compile and gains nothing on addresses written as ours are. Both
    switches are the process's, so they are turned back.
    """
    import llvmlite.binding as llvm

    with _lock:
        for switch, ours, _ in SWITCHES:
            llvm.set_option("", f"-{switch}={ours}")
        try:
            yield
        finally:
            for switch, _, theirs in SWITCHES:
                llvm.set_option("", f"-{switch}={theirs}")
