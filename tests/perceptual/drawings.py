"""Pictures drawn in whole numbers, the same on every machine and with every version of every package."""

import numpy as np


def drawing(seed: int, height: int, width: int) -> np.ndarray:
    """A slope of colours with twelve discs and boxes, uint8 (height, width, 3)."""
    numbers = _numbers(seed)
    y, x = np.mgrid[:height, :width]
    rise = [next(numbers) % 200 - 100 for _ in range(6)]
    canvas = np.stack([128 + x * rise[c] // width + y * rise[c + 3] // height for c in range(3)], axis=2)
    for number in range(12):
        left, top = next(numbers) % width, next(numbers) % height
        size = 1 + next(numbers) % max(1, max(width, height) // 3)
        colour = [next(numbers) % 256 for _ in range(3)]
        disc = (x - left) ** 2 + (y - top) ** 2 < size**2
        box = (abs(x - left) < size) & (abs(y - top) * 3 < size)
        canvas[disc if number % 2 else box] = colour
    canvas += (x * 7 + y * 13)[..., None] % 9 - 4
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _numbers(seed: int):
    """Knuth's MMIX generator, its upper 31 bits."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33
