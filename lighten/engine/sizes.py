"""One network at several sizes of its inputs: what it was made for, and what it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from lighten.engine.steps import Shapes

MOST = 8  # sizes that are kept beside the first; each holds packed weights of its own
Made = TypeVar("Made")


class Sizes(Generic[Made]):
    """What `make` makes of the inputs' shapes, once; the `MOST` that were used last are kept.

    Threads that ask for the same shapes wait for one; others do not wait for it.
    """

    def __init__(self, make: Callable[[Shapes], Made]) -> None:
        self._make = make
        self._slots: dict[Shapes, Slot[Made]] = {}  # the one used last comes last
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._slots)

    def at(self, shapes: Shapes) -> Made:
        """What is made for these shapes. Whatever `make` raises leaves nothing behind."""
        with self._lock:
            slot = self._slots.pop(shapes, None) or Slot()
            self._slots[shapes] = slot
        with slot.making:
            if slot.made is None:
                try:
                    slot.made = self._make(shapes)
                except BaseException:
                    self._forget(shapes, slot)
                    raise
                self._trim()
            return slot.made

    def _forget(self, shapes: Shapes, slot: Slot[Made]) -> None:
        with self._lock:
            if self._slots.get(shapes) is slot:
                del self._slots[shapes]

    def _trim(self) -> None:
        with self._lock:
            ready = [shapes for shapes, slot in self._slots.items() if slot.made is not None]
            for shapes in ready[:-MOST]:
                del self._slots[shapes]


class Slot(Generic[Made]):
    """A place for what is made of one list of shapes, and whoever makes it."""

    def __init__(self) -> None:
        self.making = threading.Lock()
        self.made: Made | None = None
