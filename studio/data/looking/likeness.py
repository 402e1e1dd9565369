"""Pictures that are nearly the same: a perceptual hash finds who may be, a closer look at the pixels, one laid over the other, decides."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 128
"""Pixels of the square that is hashed."""
BITS = 256
WORDS = BITS // 64
CROP = 0.075
"""The share of the sides that a crop has probably taken, at one of these places."""
PLACES = ((0.5, 0.5), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
MIRRORED = 1
MAY_BE = 84
"""Bits in which hashes of one picture may differ; unlike pictures differ in about 128, and hardly ever in less than 90."""
FIRST_MAY_BE = 26
"""The same of the first 64 bits, which are compared first."""
ROWS = 128
"""Pictures that are compared with all others at once."""
MOST_LOOKS = 4
"""Close looks for each picture of the set, at the likeliest pairs."""

LOOK = 64
"""Pixels of the square that is looked at closely."""
WORTH_IT = 0.5
"""Correlation from which on it is worth while to bring one exactly over the other."""
STEPS = 12
BLOCK = 8
FLAT = 1.5
"""Grey levels of deviation below which a block shows nothing."""
SAME_BLOCK = 0.8
SAME = 0.8
"""Share of the detail that must be found again in the same place."""
OVERLAP = 0.6

Progress = Callable[[int, int], None]
Array = np.ndarray[Any, np.dtype[Any]]


def sketch(picture: "Image") -> str:
    """Hashes of a grey picture in hex: as it is, mirrored, and without a margin, once for each of PLACES."""
    import imagehash
    from PIL import Image

    small = _resized(picture, SIDE)
    views = [small, small.transpose(Image.Transpose.FLIP_LEFT_RIGHT), *(small.crop(_box(place, SIDE)) for place in PLACES)]
    return "".join(np.packbits(imagehash.phash(view, hash_size=math.isqrt(BITS)).hash).tobytes().hex() for view in views)


def square(picture: "Image") -> Array:
    """What a close look needs of a grey picture."""
    return np.asarray(_resized(picture, LOOK), np.float32)


def groups(sketches: Sequence[str], look: Callable[[int], Array], progress: Progress) -> list[list[int]]:
    """Places of pictures that are nearly the same, those of one picture together; `look` gives the `square` of the picture at a place."""
    leader = list(range(len(sketches)))

    def first(place: int) -> int:
        while leader[place] != place:
            leader[place] = place = leader[leader[place]]
        return place

    pairs = candidates(sketches)[: MOST_LOOKS * len(sketches)]
    seen: dict[int, Array] = {}
    for done, (one, other, view) in enumerate(pairs):
        progress(done, len(pairs))
        if first(one) == first(other):
            continue
        for place in (one, other):
            if place not in seen:
                seen[place] = look(place)
        if agreement(seen[one], seen[other], view) >= SAME:
            leader[max(first(one), first(other))] = min(first(one), first(other))
    found: dict[int, list[int]] = {}
    for place in range(len(sketches)):
        found.setdefault(first(place), []).append(place)
    return [places for places in found.values() if len(places) > 1]


def candidates(sketches: Sequence[str]) -> list[tuple[int, int, int]]:
    """Pairs of places that may hold one picture, and which view of the first is most like the second; the likeliest first."""
    hashes = np.frombuffer(bytes.fromhex("".join(sketches)), np.uint64).reshape(len(sketches), len(PLACES) + 2, WORDS)
    whole = np.ascontiguousarray(hashes[:, 0].T)
    best: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    for begin in range(0, len(sketches), ROWS):
        for view in range(hashes.shape[1]):
            mine = hashes[begin : begin + ROWS, view]
            ones, others = np.nonzero(np.bitwise_count(mine[:, :1] ^ whole[0]) <= FIRST_MAY_BE)
            differ = np.bitwise_count(mine[ones] ^ whole[:, others].T).sum(1)
            near = (differ <= MAY_BE) & (ones + begin != others)
            for bits, one, other in zip(differ[near].tolist(), (ones[near] + begin).tolist(), others[near].tolist(), strict=True):
                pair = (min(one, other), max(one, other))
                best[pair] = min(best.get(pair, (BITS, 0, 0, 0)), (bits, one, other, view))
    return [(one, other, view) for _, one, other, view in sorted(best.values())]


def agreement(one: Array, other: Array, view: int = 0) -> float:
    """The share of the detail of two squares that is the same, once the first, in its `view`, is laid over the second."""
    start = np.eye(2, 3)
    if view == MIRRORED:
        one = np.ascontiguousarray(one[:, ::-1])
    elif view:
        left, top, right, _ = _box(PLACES[view - 2], LOOK)
        start = np.array([[(right - left) / LOOK, 0, left], [0, (right - left) / LOOK, top]])
    if float((_normal(_warped(one, start)) * _normal(other)).mean()) < WORTH_IT:
        return 0.0
    moved, inside = _laid_over(one, other, start)
    first, second, whole = (_blocks(values) for values in (moved, other, inside))
    counted = whole.all(1)
    if counted.mean() < OVERLAP:
        return 0.0
    # Block by block: a text over the picture costs only the blocks it covers, another brightness nothing.
    first, second = (blocks[counted] - blocks[counted].mean(1, keepdims=True) for blocks in (first, second))
    power, other_power = (first**2).mean(1), (second**2).mean(1)
    like = (first * second).mean(1) / np.sqrt(np.maximum(power * other_power, 1e-6))
    weight = np.sqrt(np.maximum(power, other_power))
    weight = np.where(weight < FLAT, 0, np.minimum(weight, 2 * np.median(weight) + 1))
    return float((weight * (like > SAME_BLOCK)).sum() / weight.sum()) if weight.any() else 1.0


def _laid_over(one: Array, other: Array, warp: Array) -> tuple[Array, Array]:
    """The first after the affine warp that brings it nearest to the second, and which of its pixels lay inside.

    Lucas and Kanade 1981, forwards additive, on brightness of mean 0 and deviation 1.
    """
    everywhere = np.ones_like(one)
    down, across = np.mgrid[:LOOK, :LOOK] + 0.5
    wanted = _normal(other)
    for step in range(STEPS + 1):
        moved, inside = _warped(one, warp), _warped(everywhere, warp) > 0
        if step == STEPS or not inside.any():
            break
        now = _normal(moved)
        slope_down, slope_across = np.gradient(now)
        slopes = [slope * by for slope in (slope_across, slope_down) for by in (across, down, 1.0)]
        jacobian = np.stack(slopes, -1)[inside]
        change = np.linalg.solve(jacobian.T @ jacobian + 1e-3 * np.eye(6), jacobian.T @ (wanted - now)[inside])
        warp = warp + change.reshape(2, 3)
    return moved, inside


def _warped(one: Array, warp: Array) -> Array:
    from PIL import Image

    return np.asarray(Image.fromarray(one).transform(one.shape, Image.Transform.AFFINE, tuple(warp.ravel().tolist()), Image.Resampling.BILINEAR))


def _resized(picture: "Image", side: int) -> "Image":
    from PIL import Image

    return picture.resize((side, side), Image.Resampling.BOX if min(picture.size) >= side else Image.Resampling.BILINEAR)


def _box(place: tuple[float, float], side: int) -> tuple[int, int, int, int]:
    left, top, kept = round(place[0] * CROP * side), round(place[1] * CROP * side), round((1 - CROP) * side)
    return left, top, left + kept, top + kept


def _normal(values: Array) -> Array:
    return (values - values.mean()) / (values.std() + 1e-3)  # type: ignore[no-any-return]


def _blocks(values: Array) -> Array:
    return values.reshape(LOOK // BLOCK, BLOCK, LOOK // BLOCK, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK * BLOCK)
