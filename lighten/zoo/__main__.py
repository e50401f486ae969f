"""`python -m lighten.zoo`: every network of the zoo, its size and what it is."""

from __future__ import annotations

from lighten.zoo import TABLE, build


def main() -> None:
    """Print one line per network."""
    print(f"{'network':<16} {'input':<13} {'parameters':>11}  what it is")
    for name, entry in TABLE.items():
        parameters = sum(p.numel() for p in build(name).parameters())
        shape = "x".join(str(size) for size in entry.input_shape)
        print(f"{name:<16} {shape:<13} {parameters:>11,}  {entry.description}")


if __name__ == "__main__":
    main()
