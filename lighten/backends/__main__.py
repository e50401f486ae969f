"""`python -m lighten.backends`: what can run a Program here, and how to get the rest."""

from importlib.metadata import version

from lighten.backends import TABLE, installed

if __name__ == "__main__":
    for name, row in TABLE.items():
        got = version(row.package) if installed(name) else f"pip install 'lighten[{row.extra}]'"
        print(f"{name:14} {row.package:12} {got}")
