"""Shapes at the door: one check that names the argument, what came and what was expected."""

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


def check_size(name: str, value: int) -> None:
    """Raise ValueError unless a length or width is 1 or more."""
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, got {value}")
