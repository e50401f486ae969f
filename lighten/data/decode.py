"""Image files to one uint8 array `[n, c, h, w]`, by Pillow, in threads where files are large."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lighten.core.task import Array
from lighten.data.archive import Archive, File
from lighten.errors import DataError, MissingExtra

Progress = Callable[[str, int, int], None]  # (what, done, of)
PIXEL_LIMIT = 64_000_000  # an image that claims more is a bomb, not a sample
MANY = 20  # failures named beyond those allowed before giving up
STRIDE = 1000  # files between two reports of progress
THREADS_PAY = 16_384  # bytes per file from which threads beat their own overhead


class InColour(Exception):
    """A colour image where grey ones were expected: begin again with three channels."""


@dataclass
class Decoder:
    """Decodes splits alike: the same channels and the same size in all of them.

    `size` asks for smaller-side resizing and a central square crop. `failures` gathers
    "name: reason" for files that cannot be used; more than `allowed` of them is an error.
    """

    archive: Archive
    channels: int = 1
    size: int | None = None
    allowed: int = 0
    first: str = ""
    extent: tuple[int, int] = (0, 0)  # height, width, of the image called `first`
    failures: list[str] = field(default_factory=list)

    def split(
        self, name: str, files: Sequence[File], progress: Progress | None
    ) -> tuple[Array, Array]:
        """All usable images `[n, c, h, w]` and which files they are, `[len(files)]` of bool."""
        pixels = np.empty((0, self.channels, 1, 1), np.uint8)
        usable = np.zeros(len(files), bool)
        large = sum(file.size for file in files) > THREADS_PAY * len(files)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for start in range(0, len(files), STRIDE):
                part = files[start : start + STRIDE]
                images = pool.map(self._image, part) if large else map(self._image, part)
                for place, (file, image) in enumerate(zip(part, images, strict=True), start):
                    if isinstance(image, str):
                        self._failed(f"{file.name} {image}")
                        continue
                    self._alike(file, image)
                    if not len(pixels):
                        pixels = _room(len(files), self.channels, self.extent)
                    pixels[place] = image
                    usable[place] = True
                if progress:
                    progress(f"decoding {name}", min(start + STRIDE, len(files)), len(files))
        return (pixels if usable.all() else pixels[usable[: len(pixels)]]), usable

    def _image(self, file: File) -> Array | str:
        """The pixels `[c, h, w]`, or what is wrong with the file."""
        if file.problem:
            return file.problem
        try:
            data = self.archive.read(file)
            return self._pixels(data) if data else "is empty (0 bytes)"
        except InColour:
            raise
        except PermissionError as error:
            return f"cannot be opened ({error.strerror})"
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            return f"is not a readable image ({str(error).partition('<')[0].strip()})"

    def _pixels(self, data: bytes) -> Array | str:
        from PIL import Image

        with Image.open(io.BytesIO(data)) as opened:
            width, height = opened.size
            if width * height > PIXEL_LIMIT:
                return f"claims {width} × {height} pixels, more than {PIXEL_LIMIT // 10**6} million"
            image = _eight_bits(opened)
            if image.mode != "L" and self.channels == 1:
                raise InColour
            if image.mode != "RGB" and self.channels == 3:
                image = image.convert("RGB")
            if self.size and (width, height) != (self.size, self.size):
                image = _squared(image, self.size)
            pixels = np.asarray(image)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def _alike(self, file: File, image: Array) -> None:
        if not self.first:
            self.first, self.extent = file.name, (image.shape[1], image.shape[2])
        if image.shape[1:] != self.extent:
            raise DataError(
                f"{self.archive.path}: images must have one size, but {self.first} is "
                f"{self.extent[1]} × {self.extent[0]} and {file.name} is "
                f"{image.shape[2]} × {image.shape[1]}.",
                f"Give a size to resize and crop them to: {self.archive.path.name}?size=32",
            )

    def _failed(self, failure: str) -> None:
        self.failures.append(failure)
        if len(self.failures) > self.allowed + MANY:
            refuse(self.archive, self.failures, self.allowed)


def refuse(archive: Archive, failures: Sequence[str], allowed: int) -> None:
    """Raise `DataError` naming the files where there are more failures than allowed."""
    if len(failures) <= allowed:
        return
    more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
    limit = f" ({len(failures)} files, {allowed} may be skipped)" if allowed else ""
    raise DataError(
        f"{archive.path}: {'; '.join(failures[:5])}{more}{limit}.",
        "Replace or delete them, or allow some to be skipped with --skip-corrupt N.",
    )


def decode(
    archive: Archive,
    splits: Mapping[str, Sequence[File]],
    size: int | None,
    allowed: int,
    progress: Progress | None = None,
) -> tuple[dict[str, tuple[Array, Array]], list[str]]:
    """Every split's pixels and usable files, and what failed. Grey if all images are grey."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise MissingExtra("Pillow", "images") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on metadata and sizes checked here
        for channels in (1, 3):
            decoder = Decoder(archive, channels, size, allowed)
            try:
                decoded = {n: decoder.split(n, files, progress) for n, files in splits.items()}
            except InColour:
                continue
            refuse(archive, decoder.failures, allowed)
            return decoded, decoder.failures
    raise AssertionError("three channels hold any image")


def _room(count: int, channels: int, extent: tuple[int, int]) -> Array:
    """An array for all images, unless this machine cannot hold it."""
    needed = count * channels * extent[0] * extent[1]
    held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > held:
        raise DataError(
            f"Decoded, {count} images of {extent[1]} × {extent[0]} take {needed / 1e9:.1f} GB, "
            f"but this machine has {held / 1e9:.1f} GB.",
            "Give a smaller size, such as ?size=64.",
        )
    return np.empty((count, channels, *extent), np.uint8)


def _eight_bits(image: Any) -> Any:
    """The image as grey "L" or colour "RGB", eight bits per channel."""
    from PIL import Image

    if image.mode.startswith("I"):
        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8
        return Image.fromarray(values.astype(np.uint8))
    if image.mode in ("L", "1", "LA", "La"):
        return image.convert("L")
    return image.convert("RGB")


def _squared(image: Any, size: int) -> Any:
    """Smaller side resized to `size`, then the central square."""
    from PIL import Image

    width, height = image.size
    ratio = size / min(width, height)
    width, height = max(size, round(width * ratio)), max(size, round(height * ratio))
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))
