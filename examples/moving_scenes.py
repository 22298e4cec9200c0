"""Make films whose labels are exact: garments that move over a ground, or a window that pans over a large scene.

    sudo apt-get install dataset-fashion-mnist                    # Debian, Ubuntu; see examples/fashion_scenes.py
    python examples/moving_scenes.py film --kind return           # frames and labels, as PNGs

What happens in a film is its kind: "pan" and "shake" move a window over a scene that is larger; in the others garments
move on their own: "walk", "crossing", "scale" (they come closer or go away), "occlusion" (one is hidden for ten frames
and seen again), "return" (one leaves the picture and comes back). `cut` puts films one after the other.

A film depends only on its kind, index, seed and split, so that each can be made again.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fashion_scenes import FOLDER, GARMENTS, _color, _garment, _ground, _paint, garments, scene
from PIL import Image

SIZE = 128  # side of a frame, in pixels
SCENE_SIZE = 288  # side of the scene that a window pans over
HIDDEN_FRAMES = 10  # of an occlusion
KINDS = ("pan", "shake", "walk", "crossing", "scale", "occlusion", "return")


class Frame(NamedTuple):
    """A frame and its labels.

    Attributes:
        image: (size, size, 3) uint8, RGB.
        objects: (size, size) int32, the number of the garment that each pixel shows, from 1, the same in all frames; 0
            for the ground.
    """

    image: np.ndarray
    objects: np.ndarray


class Film(NamedTuple):
    """A film.

    Attributes:
        frames: its frames.
        class_ids: the class of each garment by its number.
        focus: the number of the garment that the film is about, if it is about one.
        hidden: the frames in which that garment is hidden, from the first to before the last.
    """

    frames: list[Frame]
    class_ids: dict[int, int]
    focus: int | None = None
    hidden: tuple[int, int] = (0, 0)


class Sprite(NamedTuple):
    """A garment that is cut out: color (h, w, 3) float32, alpha (h, w) uint8, and class."""

    color: np.ndarray
    alpha: np.ndarray
    class_id: int


def pan(
    index: int, step: float, seed: int = 0, split: str = "test", shake: float = 0.0, size: int = SIZE,
    scene_size: int = SCENE_SIZE, fewest: int = 6, folder: Path = FOLDER,
) -> Film:  # fmt: skip
    """Make a film in which a window pans over a scene, from one side to the other.

    Args:
        index: the number of the scene, from 0.
        step: pixels from frame to frame.
        seed: the seed of all scenes.
        split: "train" or "test": the photos to use.
        shake: how far the window is off its way at most, in pixels.
        size: side of the window.
        scene_size: side of the scene.
        fewest: how many garments the scene has at least.
        folder: with Fashion-MNIST's files.

    Returns:
        The film. Even scenes are panned along the rows, odd ones along the columns.
    """
    made = scene(split, index, seed, scene_size, folder, fewest)
    grounds = sum(class_id >= len(GARMENTS) for class_id in made.class_ids)
    objects = np.maximum(made.segments - grounds, 0)
    rng = np.random.default_rng([seed, index, int(100 * step)])
    room = scene_size - size
    across = int(rng.integers(room + 1))
    places = [(along, across) for along in np.arange(0, room + 1e-6, step)]
    frames = []
    for place in places:
        moved = np.clip(np.round(np.array(place) + rng.uniform(-shake, shake, 2)), 0, room).astype(int)
        left, top = moved if index % 2 == 0 else moved[::-1]
        window = (slice(top, top + size), slice(left, left + size))
        frames.append(Frame(made.image[window], objects[window]))
    return Film(frames, dict(enumerate(made.class_ids[grounds:], 1)))


def film(
    kind: str, index: int, seed: int = 0, split: str = "test", size: int = SIZE, alike: bool = False,
    slow: int = 1, folder: Path = FOLDER,
) -> Film:  # fmt: skip
    """Make a film.

    Args:
        kind: one of `KINDS`.
        index: the number of the film, from 0.
        seed: the seed of all films.
        split: "train" or "test": the photos to use.
        size: side of a frame, in pixels.
        alike: give all garments that move on their own one color.
        slow: how many times as long a "return" takes.
        folder: with Fashion-MNIST's files.

    Returns:
        The film.
    """
    if kind in ("pan", "shake"):
        step = (6, 12, 20, 30, 40)[index % 5]
        return pan(index, step, seed, split, 8.0 if kind == "shake" else 0.0, size, folder=folder)
    rng = np.random.default_rng([seed, KINDS.index(kind), index, split == "train"])
    wardrobe = Wardrobe(rng, split, folder, alike)
    return _return(rng, size, wardrobe, slow) if kind == "return" else _FILMS[kind](rng, size, wardrobe)


def cut(*films: Film) -> Film:
    """Put films one after the other. Their garments have other numbers in the result: it is about none of them."""
    frames, class_ids = [], {}
    for one in films:
        first = len(class_ids)
        frames += [Frame(image, np.where(objects > 0, objects + first, 0)) for image, objects in one.frames]
        class_ids |= {first + number: class_id for number, class_id in one.class_ids.items()}
    return Film(frames, class_ids)


Way = Callable[[int], tuple[float, float, float]]  # from a frame's number to a center (x, y) and a scale


class Wardrobe(NamedTuple):
    """Where garments come from: a generator of numbers, a split, its folder, and whether all have one color."""

    rng: np.random.Generator
    split: str
    folder: Path
    alike: bool

    def choose(self, *sizes: tuple[int, int]) -> list[Sprite]:
        """Cut out garments whose longer sides are between these numbers of pixels."""
        hue, tint = self.rng.random(), None
        chosen = []
        for number, limits in enumerate(sizes):
            found, color = self._garment((hue + 0.38196601 * number) % 1.0, tint, *limits)
            tint = color if self.alike else None
            chosen.append(found)
        return chosen

    def _garment(self, hue: float, tint: np.ndarray | None, least: int, most: int) -> tuple[Sprite, np.ndarray]:
        photos, labels = garments(self.split, self.folder)
        while True:
            number = int(self.rng.integers(len(photos)))
            drawn = _color(hue, self.rng.uniform(0.25, 0.9), self.rng.uniform(0.75, 1.0))
            dye = drawn if tint is None else tint
            color, alpha, _ = _garment(photos[number], dye, self.rng, SIZE)
            solid = alpha > 127
            rows, columns = (np.flatnonzero(solid.any(axis=axis)) for axis in (1, 0))
            cut_off = solid[[0, -1]].any() or solid[:, [0, -1]].any() or alpha.shape[0] != alpha.shape[1]
            if not cut_off and len(rows) and least <= max(np.ptp(rows), np.ptp(columns)) + 1 <= most:
                region = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
                return Sprite(color[region], alpha[region], int(labels[number])), dye


def _shoot(
    rng: np.random.Generator, size: int, actors: list[tuple[Sprite, Way]], length: int, screen: tuple | None = None
) -> Film:
    """Draw actors, the first at the back, over a ground that stays.

    `screen`, (first frame, one after the last, left, top, right, bottom, texture), hides what is behind it.
    """
    ground, _, _ = _ground(rng, size)
    frames = []
    for time in range(length):
        image, objects = ground.copy(), np.zeros((size, size), np.int32)
        for number, (sprite, path) in enumerate(actors, 1):
            _put(image, objects, number, sprite, path(time))
        if screen is not None and screen[0] <= time < screen[1]:
            left, top, right, bottom = screen[2:6]
            image[top:bottom, left:right] = screen[6][top:bottom, left:right]
            objects[top:bottom, left:right] = 0
        image += rng.integers(-5, 6, image.shape, np.int8)
        frames.append(Frame(image.clip(0, 255).astype(np.uint8), objects))
    return Film(frames, {number: sprite.class_id for number, (sprite, _) in enumerate(actors, 1)})


def _put(
    image: np.ndarray, objects: np.ndarray, number: int, sprite: Sprite, place: tuple[float, float, float]
) -> None:
    x, y, scale = place
    height, width = (max(2, round(side * scale)) for side in sprite.alpha.shape)
    color, alpha = sprite.color, sprite.alpha
    if (height, width) != alpha.shape:
        bands = [
            Image.fromarray(band).resize((width, height), Image.Resampling.BILINEAR)
            for band in color.transpose(2, 0, 1)
        ]
        color = np.stack([np.asarray(band) for band in bands], axis=-1)
        alpha = np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.BILINEAR))
    left, top = round(x - width / 2), round(y - height / 2)
    rows = slice(max(top, 0), min(top + height, len(image)))
    columns = slice(max(left, 0), min(left + width, len(image)))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    inner = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    _paint(image, (rows, columns), color[inner], alpha[inner])
    objects[rows, columns][alpha[inner] > 127] = number


def _line(start: tuple[float, float], end: tuple[float, float], length: int) -> Way:
    """Move from one place to another, which is reached after `length` frames, and further."""
    return lambda time: (
        start[0] + (end[0] - start[0]) * time / length,
        start[1] + (end[1] - start[1]) * time / length,
        1.0,
    )


def _rest(rng: np.random.Generator, size: int) -> Way:
    x, y = rng.uniform(0.15, 0.85, 2) * size
    return lambda time: (x, y, 1.0)


def _walk(rng: np.random.Generator, size: int, wardrobe: Wardrobe) -> Film:
    """Three or four garments move, each on a line of its own."""
    cast = wardrobe.choose(*[(24, 56)] * (3 + int(rng.random() < 0.5)))
    places = rng.uniform(0.1, 0.9, (len(cast), 2, 2)) * size
    actors = [(one, _line(tuple(a), tuple(b), 24)) for one, (a, b) in zip(cast, places, strict=True)]
    return _shoot(rng, size, actors, 24)


def _crossing(rng: np.random.Generator, size: int, wardrobe: Wardrobe) -> Film:
    """Two garments cross, while a third one lies at the back."""
    cast = wardrobe.choose((24, 48), (30, 56), (30, 56))
    height = rng.uniform(0.3, 0.7) * size
    tilt = rng.uniform(-0.2, 0.2) * size
    length = int(rng.integers(16, 30))
    actors = [
        (cast[0], _rest(rng, size)),
        (cast[1], _line((0.1 * size, height + tilt), (0.9 * size, height - tilt), length)),
        (cast[2], _line((0.9 * size, height + tilt), (0.1 * size, height - tilt), length)),
    ]
    return _shoot(rng, size, actors, length)


def _scale(rng: np.random.Generator, size: int, wardrobe: Wardrobe) -> Film:
    """Garments come closer or go away."""
    cast = wardrobe.choose((24, 40), (24, 40), (24, 40))

    def zoomed(factor: float) -> Way:
        x, y = rng.uniform(0.2, 0.8, 2) * size
        drift = rng.uniform(-1.5, 1.5, 2)
        return lambda time: (x + drift[0] * time, y + drift[1] * time, factor**time)

    return _shoot(rng, size, [(one, zoomed(float(rng.choice([1.035, 0.98, 1.0])))) for one in cast], 24)


def _occlusion(rng: np.random.Generator, size: int, wardrobe: Wardrobe) -> Film:
    """A garment goes on its way, is hidden for ten frames by a larger one or by a screen, and is seen again."""
    cast = wardrobe.choose((24, 40), (30, 50), (64, 79))
    before, after = 8, 8
    first, last = before, before + HIDDEN_FRAMES
    speed = rng.uniform(-1.2, 1.2, 2) * rng.integers(0, 2)
    middle = rng.uniform(0.4, 0.6, 2) * size
    center = before + HIDDEN_FRAMES / 2

    def target(time: int) -> tuple[float, float, float]:
        return (*(middle + speed * (time - center)), 1.0)

    others = [(cast[1], _rest(rng, size))]
    length = before + HIDDEN_FRAMES + after
    reach = np.array(cast[0].alpha.shape[::-1]) / 2 + np.abs(speed) * HIDDEN_FRAMES / 2 + 3
    box = [*np.floor(middle - reach).clip(0).astype(int), *np.ceil(middle + reach).clip(0, size).astype(int)]
    if rng.random() < 0.5:
        texture, _, _ = _ground(rng, size)
        made = _shoot(rng, size, [*others, (cast[0], target)], length, (first, last, *box, texture))
    else:
        side = int(rng.choice([-1, 1])) * 1.2 * size
        factor = 1.3 * max(reach) * 2 / min(cast[2].alpha.shape)

        def cover(time: int) -> tuple[float, float, float]:
            if first <= time < last:
                return (middle[0], middle[1], factor)
            off = time - first + 1 if time < first else time - last + 1
            return (middle[0] + side * np.sign(off - 0.5) if time < first else middle[0] - side, middle[1], factor)

        made = _shoot(rng, size, [*others, (cast[0], target), (cast[2], cover)], length)
        for frame in made.frames[first:last]:  # where a sleeve leaves something to be seen
            frame.image[frame.objects == 2] = frame.image[frame.objects == 3].mean(axis=0)
            frame.objects[frame.objects == 2] = 3
    return made._replace(focus=2, hidden=(first, last))


def _return(rng: np.random.Generator, size: int, wardrobe: Wardrobe, slow: int) -> Film:
    """A garment crosses another one, leaves the picture, and comes back."""
    cast = wardrobe.choose((36, 56), (30, 50), (40, 60))
    height, gone = rng.uniform(0.35, 0.65) * size, slow * int(rng.integers(8, 16))
    way, outside = 18 * slow, 40

    def target(time: int) -> tuple[float, float, float]:
        x = 0.2 * size + time * (0.8 * size + outside) / way
        if time > way:
            x = size + outside - max(0, time - way - gone) * (0.8 * size + outside) / way
        return (x, height, 1.0)

    others = [(one, _rest(rng, size)) for one in cast[:2]]
    made = _shoot(rng, size, [*others, (cast[2], target)], 2 * way + gone)
    seen = [number for number, frame in enumerate(made.frames) if (frame.objects == 3).sum() >= 30]
    gap = next((a + 1, b) for a, b in pairwise(seen) if b > a + 1)
    return made._replace(focus=3, hidden=gap)


_FILMS: dict[str, Callable[[np.random.Generator, int, Wardrobe], Film]] = {
    "walk": _walk,
    "crossing": _crossing,
    "scale": _scale,
    "occlusion": _occlusion,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "out", type=Path, help="new folder for frames/ and objects/, whose pixels are numbers of garments"
    )
    parser.add_argument("--kind", choices=KINDS, default="return")
    parser.add_argument("--index", type=int, default=0, help="number of the film")
    parser.add_argument("--seed", type=int, default=0, help="of all films")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="which photos to use")
    parser.add_argument("--garments", type=Path, default=FOLDER, help="folder with Fashion-MNIST's files")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists already; give a new folder")
    made = film(args.kind, args.index, args.seed, args.split, folder=args.garments)
    for name in ("frames", "objects"):
        (args.out / name).mkdir(parents=True)
    for number, frame in enumerate(made.frames):
        Image.fromarray(frame.image).save(args.out / "frames" / f"{number:05}.png")
        Image.fromarray(frame.objects.astype(np.uint8)).save(args.out / "objects" / f"{number:05}.png")
    print(f"{len(made.frames)} frames -> {args.out}")


if __name__ == "__main__":
    main()
