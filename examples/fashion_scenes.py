"""Generate labeled scenes to train and test on: photos of garments on wood, grass, tiles, sky or checked cloth.

    sudo apt-get install dataset-fashion-mnist                    # Debian, Ubuntu: 70,000 photos of 28x28, MIT license
    python examples/fashion_scenes.py scenes --split test --count 500

Each scene has one to eight garments of ten classes, of random size, position, rotation, color and order, on one or two
of five backgrounds, which are stuff. The labels are exact for every pixel. A scene depends only on split, index and
seed, so that each can be made again. Training scenes use the training photos only, test scenes the test photos.

The script writes images/, panoptic.json with panoptic/ (COCO's panoptic format), instances.json (COCO's instances) and
semantic/ with names.txt (label maps). `fashion_scenes` returns the same as a dataset without files:

    from fashion_scenes import fashion_scenes
    dataset = fashion_scenes("train", count=50_000, task="panoptic")

On other systems, download the four files of https://github.com/zalandoresearch/fashion-mnist, and give their folder
with --garments.
"""

import argparse
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter
from pycocotools import mask as coco_mask
from scipy import ndimage
from tqdm.auto import tqdm

from lucid_mlx import InputError
from lucid_mlx.data import Dataset, Target
from lucid_mlx.results.export import ids_to_rgb
from lucid_mlx.visualization.overlay import bounding_boxes

GARMENTS = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
GROUNDS = ("wood", "grass", "tiles", "sky", "checked cloth")
CLASS_NAMES = GARMENTS + GROUNDS
THING_IDS = frozenset(range(len(GARMENTS)))
FILES = {"train": "train", "test": "t10k"}
FOLDER = Path("/usr/share/datasets/fashion-mnist")
SIZE = 128  # side of a scene, in pixels
MIN_VISIBLE_PIXELS = 30  # of a segment
MAX_GARMENTS = 8  # garments in a scene
PHOTO_SIZE = 28  # side of a garment's photo, in pixels
FOREGROUND_THRESHOLD = 12  # gray value from which a pixel belongs to the garment


class Scene(NamedTuple):
    """An image and its segments.

    Attributes:
        image: (size, size, 3) uint8, RGB.
        segments: (size, size) int32, from 1; every pixel has one.
        class_ids: the class of each segment, an index of `CLASS_NAMES`: first the backgrounds, then the garments from
            bottom to top.
    """

    image: np.ndarray
    segments: np.ndarray
    class_ids: tuple[int, ...]


@lru_cache(maxsize=2)
def garments(split: str, folder: Path = FOLDER) -> tuple[np.ndarray, np.ndarray]:
    """Read the photos of a split, (N, 28, 28) uint8, and their classes, (N,) uint8."""
    if split not in FILES:
        raise InputError(f"split must be train or test, got {split!r}")
    arrays = []
    for name, header in (("images-idx3", 16), ("labels-idx1", 8)):
        path = folder / f"{FILES[split]}-{name}-ubyte.gz"
        try:
            arrays.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[header:])
        except FileNotFoundError:
            raise InputError(
                f"{path} does not exist: install Debian's package dataset-fashion-mnist, or give Fashion-MNIST's folder"
            ) from None
        except (OSError, EOFError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
    return arrays[0].reshape(-1, PHOTO_SIZE, PHOTO_SIZE), arrays[1]


@lru_cache(maxsize=4)  # a record needs it for its image and for its target
def scene(
    split: str, index: int, seed: int = 0, size: int = SIZE, folder: Path = FOLDER, min_garments: int = 1
) -> Scene:
    """Make a scene.

    Args:
        split: "train" or "test": the photos to use.
        index: the number of the scene, from 0.
        seed: the seed of all scenes.
        size: the side of the scene, in pixels.
        folder: the folder with the photos.
        min_garments: how many garments it has at least, if there is space, and at most `MAX_GARMENTS`.
    """
    photos, labels = garments(split, folder)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(list(FILES).index(split), index)))
    image, segments, class_ids = _ground(rng, size)
    remaining, hue = int(rng.integers(min_garments, MAX_GARMENTS + 1)), rng.random()
    for attempt in range(6 * remaining):
        number = int(rng.integers(len(photos)))
        tint = _color((hue + 0.38196601 * attempt) % 1.0, rng.uniform(0.25, 0.9), rng.uniform(0.75, 1.0))
        color, alpha, (top, left) = _garment(photos[number], tint, rng, size)
        height, width = alpha.shape
        region = (slice(top, top + height), slice(left, left + width))
        covered = segments.copy()
        covered[region][alpha > 127] = len(class_ids) + 1
        visible = np.bincount(covered.ravel(), minlength=len(class_ids) + 2)[1:]
        if visible.min() < MIN_VISIBLE_PIXELS:
            continue  # too little of it, or of what it covers, would be visible
        _paint(image, region, color, alpha)
        segments, class_ids = covered, (*class_ids, int(labels[number]))
        remaining -= 1
        if not remaining:
            break
    image += rng.integers(-5, 6, image.shape, np.int8)
    made = Scene(image.clip(0, 255).astype(np.uint8), segments, class_ids)
    for array in made[:2]:
        array.flags.writeable = False  # the cache returns it again
    return made


def _garment(
    photo: np.ndarray, tint: np.ndarray, rng: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return a rotated and tinted garment, (h, w, 3) float32, its alpha, (h, w) uint8, and its (top, left)."""
    solid = ndimage.binary_fill_holes(photo >= FOREGROUND_THRESHOLD)
    components, count = ndimage.label(solid)
    if count > 1:  # specks of dust
        solid = components == np.bincount(components.ravel())[1:].argmax() + 1
    mask = Image.fromarray(solid.astype(np.uint8) * 255)
    inner = np.asarray(mask.filter(ImageFilter.MinFilter(3))) > 0
    # Pixels at the border are mixed with the black background: take the brightness of their neighbors.
    shade = np.where(inner, photo, Image.fromarray(photo).filter(ImageFilter.MaxFilter(5))).astype(np.float32)
    low, high = min(shade[solid].min(), 60), shade[solid].max()
    shade = (shade - low).clip(0) * (255 / max(high - low, 60))  # so that folds and seams of dark garments are visible
    bands = (Image.fromarray(shade.clip(0, 255).astype(np.uint8)), mask.filter(ImageFilter.BoxBlur(0.7)))

    scale = size * np.exp(rng.uniform(np.log(0.24), np.log(0.62))) / PHOTO_SIZE
    angle, mirrored = rng.uniform(-np.pi, np.pi) if rng.random() < 0.3 else rng.normal(0.0, 0.35), rng.random() < 0.5
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    if mirrored:
        rotation[0] *= -1
    side = int(np.ceil(PHOTO_SIZE * scale * (abs(np.cos(angle)) + abs(np.sin(angle)))))
    center = rng.uniform(0.08, 0.92, 2) * size
    left, top = (int(x) - side // 2 for x in center)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, size), min(top + side, size)
    corner = np.array([PHOTO_SIZE / 2, PHOTO_SIZE / 2]) + rotation @ (np.array([x0 - left, y0 - top]) - side / 2)
    matrix = (*rotation[0], corner[0], *rotation[1], corner[1])
    transform = ((x1 - x0, y1 - y0), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    shade, alpha = (np.asarray(band.transform(*transform)) for band in bands)
    light = np.linspace(0, 1, 256, dtype=np.float32)[:, None] ** 0.8
    colors = tint * (0.22 + 0.78 * light) + 45 * (light - 0.75).clip(0)
    sharp = np.clip((np.arange(256) - 127.5) * max(scale, 1) + 127.5, 0, 255).astype(np.uint8)
    return colors[shade], sharp[alpha], (y0, x0)


def _paint(image: np.ndarray, region: tuple[slice, slice], color: np.ndarray, alpha: np.ndarray) -> None:
    """Draw a garment on the image, with a shadow to the lower right."""
    padded = tuple(slice(max(axis.start - 4, 0), axis.stop + 6) for axis in region)
    pixels = image[padded]
    top, left = (axis.start - outer.start for axis, outer in zip(region, padded, strict=True))
    shadow = Image.new("L", (pixels.shape[1], pixels.shape[0]))
    shadow.paste(Image.fromarray(alpha), (left + 2, top + 3))
    pixels *= 1 - np.asarray(shadow.filter(ImageFilter.BoxBlur(3)))[..., None] * np.float32(0.55 / 255)
    opacity = alpha[..., None] / np.float32(255)
    image[region] += opacity * (color - image[region])


def _ground(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return an image of one or two backgrounds, (size, size, 3) float32, its segments, and their classes."""
    indices = rng.permutation(len(GROUNDS))[: 1 + int(rng.random() < 0.6)]
    textures = [_TEXTURES[index](rng, size) for index in indices]
    segments = np.ones((size, size), np.int32)
    if len(indices) == 2:  # a wavy border, like the edge of a lawn
        x = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        y = x[:, None]
        angle, wave = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.06)
        across, along = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        beyond = across + wave * np.sin(along * rng.uniform(4, 16) + angle) > rng.uniform(-0.25, 0.25)
        segments[beyond] = 2
        textures[0][beyond] = textures[1][beyond]
    light = np.linspace(*rng.uniform(0.8, 1.15, 2), size, dtype=np.float32)
    image = textures[0] * (light[:, None, None] if rng.random() < 0.5 else light[None, :, None])
    return image, segments, tuple(len(GARMENTS) + int(index) for index in indices)


def _noise(rng: np.random.Generator, size: int, rows: int, columns: int) -> np.ndarray:
    """Return smooth noise from -1 to 1, (size, size) float32, on a grid of random values."""
    coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def _color(hue: float, saturation: float, value: float) -> np.ndarray:
    """Return an HSV color, all from 0 to 1, as RGB from 0 to 255."""
    ramp = np.abs((hue * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
    return (255 * value * (1 - saturation * (1 - np.clip(ramp, 0, 1)))).astype(np.float32)


def _wood(rng: np.random.Generator, size: int) -> np.ndarray:
    width = size / rng.integers(3, 7)
    across = np.arange(size, dtype=np.float32)[:, None] + rng.uniform(0, width)
    plank = (across // width).astype(int)
    grain = _noise(rng, size, size // 2, 4) + _noise(rng, size, 24, 3)
    bright = 1 + rng.uniform(-0.12, 0.12, 9)[plank] + 0.09 * grain + 0.05 * np.sin(across + 5 * _noise(rng, size, 5, 3))
    bright = np.where(across % width < 1.3, 0.5, bright)
    picture = bright.astype(np.float32)[..., None] * _color(rng.uniform(0.05, 0.1), rng.uniform(0.45, 0.7), 0.7)
    return picture.swapaxes(0, 1).copy() if rng.random() < 0.5 else picture


def _grass(rng: np.random.Generator, size: int) -> np.ndarray:
    blades = _noise(rng, size, size // 4, size) + 0.7 * _noise(rng, size, size // 7, size // 2)
    patches = _noise(rng, size, 4, 4)[..., None]
    dark, fair = _color(rng.uniform(0.25, 0.36), 0.75, 0.42), _color(rng.uniform(0.2, 0.3), 0.6, 0.72)
    return dark + (fair - dark) * np.clip(0.5 + 0.35 * blades[..., None] + 0.25 * patches, 0, 1.2)


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    width, joint = size / rng.uniform(3.5, 7), 1.8
    rows, columns = (np.arange(size) + rng.uniform(0, width) for _ in range(2))
    bright = rng.uniform(0.85, 1.05, (9, 9))[np.ix_((rows // width).astype(int), (columns // width).astype(int))]
    bright = (bright + 0.03 * _noise(rng, size, 20, 20)).astype(np.float32)
    picture = bright[..., None] * _color(rng.random(), rng.uniform(0.05, 0.45), rng.uniform(0.6, 0.9))
    grout = np.float32(rng.choice([90, 225]))
    picture[rows % width < joint] = grout
    picture[:, columns % width < joint] = grout
    return picture


def _sky(rng: np.random.Generator, size: int) -> np.ndarray:
    high, low = _color(rng.uniform(0.55, 0.63), 0.7, 0.85), _color(rng.uniform(0.5, 0.6), 0.25, 0.95)
    down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    blue = high + (low - high) * down
    clouds = _noise(rng, size, 5, 4) + 0.5 * _noise(rng, size, 12, 9) + 0.25 * _noise(rng, size, 24, 18)
    cover = np.clip(clouds[..., None] * 1.6 + rng.uniform(-0.4, 0.4), 0, 1)
    return blue + (np.float32(248) - blue) * cover


def _cloth(rng: np.random.Generator, size: int) -> np.ndarray:
    steps = np.arange(size) / size * 2 * np.pi
    often = rng.integers(4, 9)
    stripes = [(np.sin(steps * often + rng.uniform(0, 6)) > rng.uniform(-0.3, 0.5)).astype(np.float32) for _ in "xy"]
    thread = (np.indices((size, size)).sum(axis=0) % 3).astype(np.float32)
    amount = (stripes[0][:, None] + stripes[1] + 0.2 * thread) / 2.4
    hue = rng.random()
    ground, stripe = _color(hue, 0.15, 0.92), _color(hue + rng.uniform(-0.1, 0.1), 0.75, 0.6)
    return ground + (stripe - ground) * amount[..., None]


_TEXTURES = (_wood, _grass, _tiles, _sky, _cloth)


@dataclass(frozen=True)
class SceneRecord:
    """A scene as a record of a dataset. It is generated when it is read."""

    task: str
    split: str
    index: int
    seed: int = 0
    size: int = SIZE
    folder: Path = FOLDER

    @property
    def name(self) -> str:
        """The name in messages."""
        return f"{self.split} scene {self.index}"

    def scene(self) -> Scene:
        """Generate it."""
        return scene(self.split, self.index, self.seed, self.size, self.folder)

    def image(self) -> np.ndarray:
        """Return the image, (size, size, 3) uint8, RGB."""
        return self.scene().image

    def target(self) -> Target:
        """Return the masks: panoptic, of all segments; instance, of the garments; semantic, of the classes."""
        made = self.scene()
        class_ids, ids = np.array(made.class_ids, np.int32), np.arange(1, len(made.class_ids) + 1)
        if self.task == "semantic":
            class_ids, ids = np.unique(class_ids), np.unique(class_ids)
            masks = np.array(made.class_ids)[made.segments - 1] == class_ids[:, None, None]
        else:
            if self.task == "instance":
                class_ids, ids = class_ids[class_ids < len(GARMENTS)], ids[class_ids < len(GARMENTS)]
            masks = made.segments == ids[:, None, None]
        areas = np.count_nonzero(masks, axis=(1, 2)).astype(np.float64)
        return Target(masks, class_ids, np.zeros(len(class_ids), bool), areas, ids.astype(object))


class _Records(Sequence[SceneRecord]):
    """The records of a dataset, each created when it is accessed."""

    def __init__(self, count: int, *options):
        self.count, self.options = count, options

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.count))]
        if not -self.count <= index < self.count:
            raise IndexError(index)
        task, split, *others = self.options
        return SceneRecord(task, split, int(index) % self.count, *others)


def fashion_scenes(
    split: str, count: int, task: str = "panoptic", seed: int = 0, size: int = SIZE, folder: Path = FOLDER
) -> Dataset:
    """Return scenes as a dataset; the other arguments are those of `scene`.

    Raises:
        InputError: if the task or the split is unknown, or the photos are missing.
    """
    garments(split, folder)
    names = GARMENTS if task == "instance" else CLASS_NAMES
    return Dataset(task, names, THING_IDS, _Records(count, task, split, seed, size, folder))


def write(
    out: Path, split: str, count: int, seed: int = 0, size: int = SIZE, folder: Path = FOLDER, min_garments: int = 1
) -> None:
    """Write scenes in the three formats, into a new folder."""
    for name in ("images", "panoptic", "semantic"):
        (out / name).mkdir(parents=True)
    images, panoptic, instances = [], [], []
    for index in tqdm(range(count), unit="scene", disable=None):
        made = scene(split, index, seed, size, folder, min_garments)
        name = f"{index:06}.png"
        Image.fromarray(made.image).save(out / "images" / name)
        ids_to_rgb(made.segments).save(out / "panoptic" / name)
        Image.fromarray(np.array(made.class_ids, np.uint8)[made.segments - 1]).save(out / "semantic" / name)
        images.append({"id": index, "file_name": name, "width": size, "height": size})
        infos = []
        for number, (left, top, right, bottom) in bounding_boxes(made.segments).items():
            mask, class_id = made.segments == number, made.class_ids[number - 1]
            box = [left, top, right - left, bottom - top]
            info = {"category_id": class_id + 1, "area": int(mask.sum()), "bbox": box, "iscrowd": 0}
            infos.append({"id": number, **info})
            if class_id in THING_IDS:
                rle = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))
                segmentation = {"size": [size, size], "counts": rle["counts"].decode("ascii")}
                instances.append({"id": len(instances) + 1, "image_id": index, "segmentation": segmentation, **info})
        panoptic.append({"image_id": index, "file_name": name, "segments_info": infos})
    categories = [
        {"id": class_id + 1, "name": name, "isthing": int(class_id in THING_IDS)}
        for class_id, name in enumerate(CLASS_NAMES)
    ]
    for name, annotations, used in (
        ("panoptic.json", panoptic, categories),
        ("instances.json", instances, categories[: len(GARMENTS)]),
    ):
        content = {"images": images, "annotations": annotations, "categories": used}
        (out / name).write_text(json.dumps(content), encoding="utf-8")
    (out / "names.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="new folder for the scenes")
    parser.add_argument("--split", choices=FILES, default="test", help="which photos to use")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=SIZE, help="side of a scene, in pixels")
    parser.add_argument(
        "--min-garments",
        type=int,
        choices=range(1, MAX_GARMENTS + 1),
        default=1,
        help="garments in each scene, if there is space",
    )
    parser.add_argument("--garments", type=Path, default=FOLDER, help="folder with Fashion-MNIST's files")
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists already; give a new folder")
    try:
        garments(args.split, args.garments)
    except InputError as error:
        parser.error(str(error))
    write(args.out, args.split, args.count, args.seed, args.size, args.garments, args.min_garments)
    print(f"{args.count} scenes -> {args.out}")


if __name__ == "__main__":
    main()
