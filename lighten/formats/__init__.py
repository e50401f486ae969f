"""Number formats: what a code means (`integer`), and which range it should cover (`calibrate`)."""

from lighten.formats.calibrate import CALIBRATORS, Histogram
from lighten.formats.integer import (
    FLOAT32,
    INT8_WEIGHT,
    UINT8,
    Float32,
    Format,
    Integer,
    Scale,
)

__all__ = [
    "CALIBRATORS",
    "FLOAT32",
    "INT8_WEIGHT",
    "UINT8",
    "Float32",
    "Format",
    "Histogram",
    "Integer",
    "Scale",
]
