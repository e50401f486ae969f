"""One tile of a convolution in the frequency domain: there, its products, and back."""

from __future__ import annotations

from lighten.emit import I64, Function, Index, Tile, Value
from lighten.kernels import products
from lighten.kernels.finish import pixel, window
from lighten.kernels.fourier import Arithmetic, Complex, complex_, forward, inverse
from lighten.kernels.functions import FUNCTIONS
from lighten.kernels.shapes import Conv
from lighten.kernels.spectrum import Schedule, Sizes, Spectrum, alone, outputs


class Transform:
    """What is written for one tile. V and M lie in `scratch`, behind room for one tile; between its
    two transforms a tile lies in the part's own `s`.
    """

    def __init__(self, f: Function, conv: Conv, schedule: Schedule, scratch: Value) -> None:
        self.f, self.conv, self.schedule = f, conv, schedule
        self.spectrum, self.sizes = Spectrum(schedule.size), Sizes.of(conv, schedule)
        self.rows, self.columns = schedule.size
        self.step = conv.source.pixel
        self.v = scratch + self.rows * self.columns * self.step
        self.m = self.v + self.spectrum.planes * self.sizes.read
        self.arithmetic = Arithmetic(self._scaled, self._added)

    def _scaled(self, factor: float, x: Value) -> Value:
        if factor == -1.0:
            return self.f.constant(-0.0, x.type) - x
        return x * self.f.constant(factor, x.type)

    def _added(self, factor: float, x: Value, y: Value) -> Value:
        return self.f.fma(x, self.f.constant(factor, x.type), y)

    def read(self, place: tuple[Value, Index, Index, Index], t: Index) -> None:
        """The tile's pixels, transformed row by row, then column by column, to V."""
        f, conv, (n, c, i, j) = self.f, self.conv, place
        high, wide = outputs(conv, self.schedule)
        x = window(conv, f["x"], (n, c, i * high, j * wide))

        def row(a: Value, _: Tile) -> None:
            line, held = x + a * conv.source.row, f["s"] + a * (self.columns * self.step)
            seen = [f.load(line, f.lane, b * self.step) for b in range(self.columns)]
            for u, (re, im) in enumerate(forward(seen, self.arithmetic)):
                at = _slot(u, self.columns)
                f.store(re, held, at * self.step)
                if im is not None:
                    f.store(im, held, (at + 1) * self.step)

        f.loop(0, self.rows, row)
        v = self.v + (t if alone(conv) else c * self.sizes.tiles + t) * self.step
        for column in range(self.spectrum.real):
            made = forward(self._column(column * self.step), self.arithmetic)
            planes = v + column * (self.spectrum.edge * self.sizes.read)
            for (at, _), number in zip(self.spectrum.starts(), made, strict=True):
                self._put(number, planes, at)

        def complex_column(u: Value, _: Tile) -> None:
            first = u * (2 * self.step) + 2 * self.step
            numbers = zip(self._column(first), self._column(first + self.step), strict=True)
            planes = v + self._planes_of(u, self.sizes.read)
            for k, number in enumerate(complex_(list(numbers), self.arithmetic)):
                self._put(number, planes, 3 * k)

        f.loop(0, self.spectrum.complex, complex_column)

    def _column(self, slot: Index) -> list[Value]:
        """A column of the tile in the workspace, `slot` bytes from its left."""
        held, line = self.f["s"] + slot, self.columns * self.step
        return [self.f.load(held, self.f.lane, a * line) for a in range(self.rows)]

    def _planes_of(self, u: Value, plane: int) -> Value:
        """Bytes to the planes of a complex column."""
        return u * (3 * self.rows * plane) + self.spectrum.real * self.spectrum.edge * plane

    def _put(self, number: Complex, v: Value, plane: int) -> None:
        """What a number is multiplied by, to its planes."""
        re, im = number
        factors = [re] if im is None else [re + im, re, im]
        for at, factor in enumerate(factors):
            self.f.store(factor, v, (plane + at) * self.sizes.read)

    @property
    def block(self) -> products.Block:
        """The register block of the products."""
        return products.Block(self.schedule.blocks, self.schedule.columns, self.sizes.tiles)

    def multiply(self, p: Index, g: Index) -> None:
        """One plane's matrices for a group of filters, M = V · U."""
        sizes, w = self.sizes, self.f["w"]
        places = self.v + p * sizes.read, w + p * sizes.weights, self.m + p * sizes.made
        products.multiply(self.f, self.conv, self.block, places, g)

    def _product(self, k: Index, t: Index, base: Index, plane: int) -> Value:
        """A plane of the results' transform; `base` is a plane too."""
        f, sizes = self.f, self.sizes
        if not alone(self.conv):
            m = self.m + base * sizes.made + (k * sizes.tiles + t) * self.step
            return f.load(m, f.lane, plane * sizes.made)
        v = f.load(self.v + base * sizes.read, f.lane, plane * sizes.read)
        u = f["w"] + base * sizes.weights + k * self.step
        return v * f.load(u, f.lane, plane * sizes.weights)

    def _number(self, k: Index, t: Index, base: Index, plane: int) -> Complex:
        first, second, third = (self._product(k, t, base, plane + at) for at in range(3))
        return first - third, first + second

    def write(self, place: tuple[Value, Index, Index, Index], t: Index, width: int) -> None:
        """The tile's results: back column by column, then row by row, and what is done to them."""
        f, spectrum, (_, k, i, _) = self.f, self.spectrum, place
        high = outputs(self.conv, self.schedule)[0]
        line = self.columns * self.step
        for column in range(spectrum.real):
            base = column * spectrum.edge
            numbers = [
                (self._product(k, t, base, at), None) if single else self._number(k, t, base, at)
                for at, single in spectrum.starts()
            ]
            for a, value in enumerate(inverse(numbers, self.arithmetic)[:high]):
                f.store(value, f["s"], a * line + column * self.step)

        def complex_column(u: Value, _: Tile) -> None:
            base = u * (3 * self.rows) + spectrum.real * spectrum.edge
            numbers = [self._number(k, t, base, 3 * at) for at in range(self.rows)]
            held = f["s"] + u * (2 * self.step) + 2 * self.step
            made = complex_(numbers, self.arithmetic, back=True)
            for a, (re, im) in enumerate(made[:high]):
                f.store(re, held, a * line)
                f.store(im, held, a * line + self.step)

        f.loop(0, spectrum.complex, complex_column)
        height = f.least(f.constant(self.conv.target.height, I64) - i * high, high)
        bias = f.load(f["b"] + k * self.step, f.lane)
        f.loop(0, height, lambda a, _: self._row(place, a, width, bias))

    def _row(
        self, place: tuple[Value, Index, Index, Index], a: Value, width: int, bias: Value
    ) -> None:
        """One row of results."""
        f, conv, (n, k, i, j) = self.f, self.conv, place
        high, wide = outputs(conv, self.schedule)
        held = f["s"] + a * (self.columns * self.step)
        loaded = [f.load(held, f.lane, at * self.step) for at in range(self.columns)]
        numbers: list[Complex] = []
        for u in range(self.columns // 2 + 1):
            at = _slot(u, self.columns)
            numbers.append((loaded[at], loaded[at + 1] if at > 1 else None))
        at_ = (n, k, a + i * high, j * wide)
        y = pixel(f["y"], conv.target, at_)
        for b, value in enumerate(inverse(numbers, self.arithmetic)[:width]):
            total = value + bias
            if conv.residual is not None:
                other = pixel(f["r"], conv.residual, at_)
                total = total + f.load(other, f.lane, b * conv.residual.pixel)
            f.store(FUNCTIONS[conv.activation](f, total), y, b * conv.target.pixel)


def _slot(u: int, columns: int) -> int:
    """Where a column's number lies in a row of the workspace: the two real ones first."""
    return min(u, 1) if u in (0, columns // 2) else 2 * u
