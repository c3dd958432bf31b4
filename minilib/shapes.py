"""Shapes at the door: one check that names the argument, what came and what was expected."""

import operator

from torch import Tensor


def check_shapes(**expected: tuple[Tensor, tuple]) -> None:
    """Raise ValueError unless each tensor has its shape; None stands for any size.

    check_shapes(u=(u, (None, 3, None)))   # "u must have shape (any, 3, any), got (2, 4, 5)"
    """
    for name, (value, shape) in expected.items():
        fits = value.dim() == len(shape) and all(
            want in (None, have) for want, have in zip(shape, value.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            raise ValueError(f"{name} must have shape ({wanted}), got {tuple(value.shape)}")


def check_size(name: str, value: int, least: int = 1) -> None:
    """Raise ValueError unless a length or width is a whole number and `least` or more.

    Whole are int and what serves as one, as NumPy's integers do; 2.0 is not, nor is True.
    """
    if not is_whole(value):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")


def check_sizes(least: int = 1, /, **sizes: int) -> None:
    """check_size of several: check_sizes(width=width, heads=heads), check_sizes(0, before=0)."""
    for name, value in sizes.items():
        check_size(name, value, least)


def is_whole(value: object) -> bool:
    """Whether Python takes it as an index and it is no bool."""
    if isinstance(value, int):  # asked first: compiled code has symbols for sizes
        return not isinstance(value, bool)
    try:
        operator.index(value)
    except TypeError:
        return False
    return True
