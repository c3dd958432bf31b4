"""Clips of letters that fly through a small frame and bounce off its edges."""

import numpy as np

from minilib.lab.glyphs import PARTS, ink, letters

FINE = 48  # sides of the frame on which positions are whole numbers; its pixels are averaged


def bouncing(
    part: str = "train", count: int = 32, frames: int = 9, size: int = 16, seed: int = 0
) -> np.ndarray:
    """Clips of one letter each, white on black, that bounces off the edges of the frame.

    part     "train", "validation" or "test": each has letters of its own, those of `letters`
    size     sides of a frame in pixels, a divisor of 48. The same clip can be had at each size
    returns  (count, frames, size, size) float32 in [0, 1]. Clip k depends on part, seed and k
             alone. Letters are turned a little; capitals fill half to two thirds of the height.
             A letter moves by up to a twelfth of the frame from frame to frame, along each axis
    Raises ValueError for another part, and for numbers that do not fit.
    """
    alphabet = letters(part)
    if count < 1 or frames < 1:
        raise ValueError(f"count and frames must be 1 or more, got {count} and {frames}")
    if size < 1 or FINE % size:
        raise ValueError(f"size must be a divisor of {FINE}, got {size}")
    clips = np.zeros((count, frames, size, size), np.float32)
    for k in range(count):
        random = np.random.default_rng([seed, PARTS.index(part), k, 3])
        letter, height = random.choice(list(alphabet)), random.uniform(34, 41)
        places = np.stack(ink(letter, height, random.uniform(-0.25, 0.25)), 1)
        places -= places.min(0)
        room = FINE - 1 - places.max(0)
        start, speed = random.uniform(size=2) * room, random.uniform(-FINE / 12, FINE / 12, 2)
        for t in range(frames):
            way = (start + t * speed) % (2 * room)
            rows, columns = (places + np.minimum(way, 2 * room - way).round().astype(int)).T
            picture = np.zeros((FINE, FINE), np.float32)
            picture[rows, columns] = 1
            clips[k, t] = picture.reshape(size, FINE // size, size, FINE // size).mean((1, 3))
    return clips
