"""The definitions: each system as its shortest correct statement, in NumPy and loops, float64."""

import importlib


def __getattr__(name):  # naive.lstm: imported when first named
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"minilib.naive has no topic {name!r}")
