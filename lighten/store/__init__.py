"""The artifact: a program and its weights in one safe file, `model.lighten`.

artifact    save, load, to_bytes, from_bytes
container   the bytes: sections with lengths and checksums
canonical   JSON in its one form          fields      what a field must be
describe    a program as JSON             restore     JSON as a program, checked
arrays      where arrays lie              forms       single values, with their types
attributes  what an op's attributes may be

`docs/format.md` describes the format byte by byte.
"""

from lighten.store.artifact import from_bytes, load, save, to_bytes

__all__ = ["from_bytes", "load", "save", "to_bytes"]
