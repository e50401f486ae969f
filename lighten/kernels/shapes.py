"""What a sliding op asks of a kernel, in two dimensions; one dimension is a row."""

from __future__ import annotations

from dataclasses import dataclass

from lighten.kernels.layout import Blocked, Halo
from lighten.kernels.volumes import Slide, slide
from lighten.program.ir import Op

PAIR = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A window sliding over an image: sizes, steps, padding and dilation, (rows, columns) each."""

    kernel: PAIR
    strides: PAIR = (1, 1)
    dilations: PAIR = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right, as ONNX has them

    @property
    def extent(self) -> PAIR:
        """Rows and columns that one window spans."""
        rows, columns = self.kernel
        return (rows - 1) * self.dilations[0] + 1, (columns - 1) * self.dilations[1] + 1

    def results(self, height: int, width: int) -> PAIR:
        """Rows and columns of what comes out."""
        top, left, bottom, right = self.pads
        return (
            (height + top + bottom - self.extent[0]) // self.strides[0] + 1,
            (width + left + right - self.extent[1]) // self.strides[1] + 1,
        )

    def halo(self, height: int, width: int) -> Halo:
        """The padding that is really read: what the last window does not reach is left out."""
        rows, columns = self.results(height, width)
        last = (rows - 1) * self.strides[0] + self.extent[0] - self.pads[0] - height
        end = (columns - 1) * self.strides[1] + self.extent[1] - self.pads[1] - width
        return Halo(self.pads[0], max(last, 0), self.pads[1], max(end, 0))


def window(op: Op, kernel: tuple[int, ...]) -> Window:
    """The window of a conv or pool over one or two dimensions; `kernel` as the op has it."""
    return plane(slide(op, kernel))


def plane(given: Slide) -> Window:
    """A window over one or two axes."""
    if len(given.kernel) == 1:
        given = Slide(
            (1, *given.kernel),
            (1, *given.strides),
            (1, *given.dilations),
            (0, *given.before),
            (0, *given.after),
        )
    (rows, columns), (top, left), (bottom, right) = given.kernel, given.before, given.after
    (down, along), (apart, aside) = given.strides, given.dilations
    return Window((rows, columns), (down, along), (apart, aside), (top, left, bottom, right))


@dataclass(frozen=True)
class Conv:
    """A convolution between two blocked tensors: `y = activation(w ∗ x + b + residual)`.

    Both sides' channels are cut into `groups`; as many groups as channels is depthwise. `batch`
    samples come at a time; the weights are `remote` where those of the whole network are more than
    the caches hold, so that they come from memory every time.
    """

    source: Blocked
    target: Blocked
    window: Window
    groups: int = 1
    activation: str = ""
    residual: Blocked | None = None
    batch: int = 1
    remote: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample."""
        rows, columns = self.window.kernel
        reads = self.source.channels // self.groups * rows * columns
        return self.target.channels * self.target.height * self.target.width * reads
