"""What kernels have in common that read zeros around the image and need no memory of their own."""

from __future__ import annotations

from lighten.kernels.layout import Halo
from lighten.kernels.shapes import Conv


def halo(conv: Conv, schedule: object) -> Halo:
    """What is read around the image."""
    return conv.window.halo(conv.source.height, conv.source.width)


def workspace(conv: Conv, schedule: object) -> int:
    """Bytes beside sources and results: none."""
    return 0
