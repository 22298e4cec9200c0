"""Make training data of people and garments out of two sets of photos: whole, and cut out and pasted into others.

    python examples/people_and_garments.py clothing-co-parsing clothing out

The first folder is Clothing Co-Parsing (https://github.com/bearpaw/clothing-co-parsing, Apache 2.0): images/ID.jpg,
labels/ID.png with the class of each pixel, names.txt with the 59 classes, and lists of IDs, train.txt and val.txt. In
the repository the labels are .mat files, annotations/pixel-level: `scipy.io.loadmat(path)["groundtruth"]` is the array.

The second is the clothing dataset (https://github.com/alexeygrigorev/clothing-dataset, CC0): images/ID.jpg, the mask of
its garment in masks/ID.png, and photos.csv with columns image, label (the class that people named) and split (train or
val).

The script writes five folders with images/, panoptic.json and panoptic/ (COCO's panoptic format): train, and photos to
validate and to test with, each of people and of garments. Garments are things, the rest is stuff. It depends on the
seed alone. What is left out is counted and told.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter
from tqdm.auto import tqdm

from lucid_mlx.results.export import ids_to_rgb

# Our classes, and those of Clothing Co-Parsing that they are made of. Pixels of the others have no label.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "background": ("background",),
    "skin": ("skin",),
    "hair": ("hair",),
    "hat": ("hat",),
    "glasses": ("sunglasses", "glasses"),
    "bag": ("bag", "purse", "wallet"),
    "belt": ("belt",),
    "scarf": ("scarf",),
    "dress": ("dress", "romper", "bodysuit"),
    "coat": ("coat", "cape"),
    "jacket": ("jacket", "blazer", "suit"),
    "shirt": ("shirt", "blouse"),
    "t-shirt": ("t-shirt", "top", "vest"),
    "sweater": ("sweater", "jumper", "cardigan", "sweatshirt", "hoodie"),
    "skirt": ("skirt",),
    "trousers": ("pants", "jeans"),
    "shorts": ("shorts",),
    "stockings": ("stockings", "tights", "leggings", "socks"),
    "shoes": ("shoes", "boots", "heels", "pumps", "sneakers", "loafers", "flats", "sandals", "wedges", "clogs"),
}
NAMES = tuple(CLASSES)
STUFF = ("background", "skin", "hair")

# The classes of the photos of garments in ours. Outwear is mostly jackets; a baby's body is none of ours.
GARMENTS = {
    "Blazer": "jacket",
    "Blouse": "shirt",
    "Dress": "dress",
    "Hat": "hat",
    "Hoodie": "sweater",
    "Longsleeve": "sweater",
    "Outwear": "jacket",
    "Pants": "trousers",
    "Polo": "t-shirt",
    "Shirt": "shirt",
    "Shoes": "shoes",
    "Shorts": "shorts",
    "Skirt": "skirt",
    "T-Shirt": "t-shirt",
    "Top": "t-shirt",
    "Undershirt": "t-shirt",
}
# Photos whose mask has a shadow, a box or a piece of the floor, or lacks a part, by the start of their names: what a
# person saw who looked at all of them.
WRONG_MASKS = (
    *("34118cd8", "5f26901c", "d53159b1", "41302a0b", "b69b6ddf", "f53c2e58"),
    *("6b779a54", "56a45826", "fb90adff", "707cf964", "50f6bd8d", "21f0effd"),
    *("203369db", "17f835b2", "86a3f65f", "a254b3ea"),  # of split val
)

PEOPLE_TIMES = 3  # how often the training photos of people are listed, which have most of the classes
VALIDATION_PEOPLE = 80  # of the photos of train.txt
VALIDATION_GARMENTS = 20  # every so many photos of a garment of split train
UNLABELED = 31
INSTANCE = 32  # a pixel of a thing is its class and this times a number of its object; a pixel of stuff its class
OBJECTS = 64  # numbers of objects that one photo may have
MIN_PIXELS = 24  # of a segment; the pixels of smaller ones have no label
MAX_OVERLAP = 0.3  # of what is pasted, with what there is
TRIES = 8  # places to try for it


Reader = Callable[[], "Picture"]


class Picture(NamedTuple):
    """A photo with its labels.

    Attributes:
        name: of its files.
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) int32: `UNLABELED`, the class of stuff, or the class and object of a thing.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray

    @property
    def foreground(self) -> np.ndarray:
        """Where it shows anything but background, (H, W) bool; pixels without a label are part of a person."""
        return self.labels != 0


def read_person(folder: Path, name: str, table: np.ndarray) -> Picture:
    """Read a photo of Clothing Co-Parsing; each of its 59 classes is one object.

    Args:
        folder: of Clothing Co-Parsing.
        name: of the photo.
        table: our class for each of theirs, or `UNLABELED`.
    """
    image = np.asarray(Image.open(folder / "images" / f"{name}.jpg").convert("RGB"))
    theirs = np.asarray(Image.open(folder / "labels" / f"{name}.png"))
    classes = table[theirs].astype(np.int32)
    thing = (classes != UNLABELED) & (classes >= len(STUFF))
    return Picture(
        f"person_{name}", image, np.where(thing, classes + INSTANCE * (theirs.astype(np.int32) + 1), classes)
    )


def read_garment(folder: Path, name: str, label: str) -> Picture:
    """Read a photo of one garment, of a class of `GARMENTS`."""
    image = np.asarray(Image.open(folder / "images" / f"{name}.jpg").convert("RGB"))
    mask = np.asarray(Image.open(folder / "masks" / f"{name}.png").convert("L")) > 0
    return Picture(f"garment_{name[:8]}", image, mask * np.int32(NAMES.index(GARMENTS[label]) + INSTANCE))


def cut_out(picture: Picture) -> Picture:
    """Cut a picture to what is not its background."""
    rows, columns = (np.flatnonzero(picture.foreground.any(axis=axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return picture._replace(image=picture.image[box], labels=picture.labels[box])


def transform(picture: Picture, height: float, degrees: float, mirror: bool, gain: np.ndarray) -> Picture:
    """Resize what was cut out to a height, and rotate, mirror and color it; what is new is background."""
    scale = height / picture.labels.shape[0]
    size = tuple(max(round(side * scale), 2) for side in reversed(picture.labels.shape))
    step = -1 if mirror else 1
    pixels = (picture.image[:, ::step] * gain).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    labels = Image.fromarray(np.ascontiguousarray(picture.labels[:, ::step])).resize(size, Image.Resampling.NEAREST)
    if degrees:
        image = image.rotate(degrees, Image.Resampling.BILINEAR, expand=True)
        labels = labels.rotate(degrees, Image.Resampling.NEAREST, expand=True)
    return picture._replace(image=np.asarray(image), labels=np.asarray(labels))


def paste(below: Picture, piece: Picture, rng: np.random.Generator, number: int) -> Picture:
    """Paste a piece where it covers little, with a soft edge and a shadow; if it fits nowhere, nothing changes.

    Args:
        below: what to paste on.
        piece: what to paste.
        rng: chooses the place.
        number: of the piece, from 1; it makes the objects' numbers unique.
    """
    (height, width), (h, w) = below.labels.shape, piece.labels.shape
    solid = piece.foreground
    for _ in range(TRIES):
        # A part of it may be outside.
        top = int(rng.integers(-h // 5, max(height - h * 4 // 5, 1)))
        left = int(rng.integers(-w // 5, max(width - w * 4 // 5, 1)))
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + h, height), min(left + w, width)
        there, inside = (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        if (below.foreground[there] & solid[inside]).sum() <= MAX_OVERLAP * solid.sum():
            break
    else:
        return below
    mask = Image.fromarray(solid.astype(np.uint8) * 255)
    alpha = np.asarray(mask.filter(ImageFilter.GaussianBlur(0.8)), np.float32)[inside][..., None] / 255
    shade = Image.new("L", (width, height))
    shift = (left + int(rng.integers(-4, 5)), top + int(rng.integers(0, 6)))
    shade.paste(mask, shift)
    shadow = np.asarray(shade.filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 8)))), np.float32)[..., None] / 255
    image = below.image * (1 - shadow * np.float32(rng.uniform(0, 0.5)))
    image[there] += alpha * (piece.image[inside] - image[there])
    labels, new = below.labels.copy(), piece.labels[inside]
    objects = (new != UNLABELED) & (new >= len(STUFF))
    labels[there] = np.where(solid[inside], new + objects * np.int32(number * INSTANCE * OBJECTS), labels[there])
    return below._replace(image=image.clip(0, 255).astype(np.uint8), labels=labels)


class Scenes:
    """Photos in which others are pasted.

    Args:
        people: readers of photos of people.
        garments: readers of photos of garments.
        seed: of all scenes.
    """

    def __init__(self, people: Sequence[Reader], garments: Sequence[Reader], seed: int):
        self.people, self.garments, self.seed = people, garments, seed

    def scene(self, index: int) -> Picture:
        """Make a scene; it depends on the index and the seed."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(index,)))
        kind = rng.choice(["garments beside a person", "garments", "a person elsewhere"], p=[0.4, 0.25, 0.35])
        if kind == "garments beside a person":
            scene = _crop(_pick(self.people, rng), rng)
        elif kind == "garments":
            scene = _pick(self.garments, rng)
        else:
            scene = _pick(self.garments if rng.random() < 0.5 else self.people, rng)
        number = 0  # of pieces
        if kind == "a person elsewhere":
            person = cut_out(_crop(_pick(self.people, rng), rng))
            height = scene.labels.shape[0] * rng.uniform(0.55, 1.1)
            number = 1
            scene = paste(scene, transform(person, height, 0, rng.random() < 0.5, _gain(rng)), rng, number)
        for _ in range(int(rng.integers(0 if number else 1, 5))):
            garment = cut_out(_pick(self.garments, rng))
            height = min(scene.labels.shape) * rng.uniform(0.15, 0.65)
            degrees = rng.uniform(-180, 180) if rng.random() < 0.2 else rng.normal(0, 15)
            number += 1
            scene = paste(scene, transform(garment, height, degrees, rng.random() < 0.5, _gain(rng)), rng, number)
        return scene._replace(name=f"scene_{index:05}")


def _pick(readers: Sequence[Reader], rng: np.random.Generator) -> Picture:
    return readers[int(rng.integers(len(readers)))]()


def _gain(rng: np.random.Generator) -> np.ndarray:
    """Return a factor of each color."""
    return rng.uniform(0.75, 1.2) * rng.uniform(0.94, 1.06, 3)


def _crop(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the photo or, half of the times, a part of it that shows much of the person."""
    if rng.random() < 0.5:
        return picture
    rows, columns = (np.flatnonzero(picture.foreground.any(axis=axis)) for axis in (1, 0))
    height = int((rows[-1] - rows[0]) * rng.uniform(0.35, 0.9))
    top = int(rng.integers(max(rows[0] - height // 8, 0), max(rows[-1] - height, rows[0]) + 1))
    width = min(max(int(height * rng.uniform(0.6, 1.1)), 64), picture.labels.shape[1])
    center = int(columns.mean() + rng.uniform(-0.25, 0.25) * width)
    left = int(np.clip(center - width // 2, 0, picture.labels.shape[1] - width))
    box = (slice(top, top + height), slice(left, left + width))
    if not picture.foreground[box].any():
        return picture
    return picture._replace(image=picture.image[box], labels=picture.labels[box])


def write(folder: Path, pictures: Iterable[Picture], count: int) -> Counter[str]:
    """Write pictures with their labels in COCO's panoptic format; return the number of segments of each class."""
    for name in ("images", "panoptic"):
        (folder / name).mkdir(parents=True)
    images, annotations = [], []
    found: Counter[str] = Counter()
    for number, picture in enumerate(tqdm(pictures, folder.name, count, unit="image", disable=None)):
        height, width = picture.labels.shape
        Image.fromarray(picture.image).save(folder / "images" / f"{picture.name}.jpg", quality=92)
        values, inverse = np.unique(picture.labels, return_inverse=True)
        pixels = np.bincount(inverse.ravel())
        kept = (values != UNLABELED) & (pixels >= MIN_PIXELS)
        ids = np.where(kept, np.cumsum(kept), 0)
        ids_to_rgb(ids[inverse].reshape(height, width)).save(folder / "panoptic" / f"{picture.name}.png")
        segments = [
            {"id": int(i), "category_id": int(value) % INSTANCE + 1, "area": int(area), "iscrowd": 0}
            for i, value, area in zip(ids, values, pixels, strict=True)
            if i
        ]
        found.update(NAMES[segment["category_id"] - 1] for segment in segments)
        images.append({"id": number, "file_name": f"{picture.name}.jpg", "width": width, "height": height})
        annotations.append({"image_id": number, "file_name": f"{picture.name}.png", "segments_info": segments})
    categories = [{"id": i + 1, "name": name, "isthing": int(name not in STUFF)} for i, name in enumerate(NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content), encoding="utf-8")
    return found


def people(folder: Path, split: str) -> list[Reader]:
    """Return the photos of a list of Clothing Co-Parsing."""
    ours = {theirs: index for index, name in enumerate(NAMES) for theirs in CLASSES[name]}
    table = np.array([ours.get(name, UNLABELED) for name in (folder / "names.txt").read_text().split()], np.int32)
    listed = [partial(read_person, folder, name, table) for name in (folder / f"{split}.txt").read_text().split()]
    readers = [reader for reader in tqdm(listed, "read", unit="photo", disable=None) if reader().foreground.any()]
    print(f"{len(listed)} photos of people of split {split}; left out: {len(listed) - len(readers)} without a person")
    return readers


def garments(folder: Path, split: str) -> list[Reader]:
    """Return the photos of garments of a split; tell what is left out."""
    with (folder / "photos.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    named = [row for row in rows if row["label"] in GARMENTS]
    right = [row for row in named if not row["image"].startswith(WRONG_MASKS)]
    print(
        f"{len(rows)} photos of garments of split {split}; left out: {len(rows) - len(named)} of other classes, "
        f"{len(named) - len(right)} with a wrong mask"
    )
    return [partial(read_garment, folder, row["image"], row["label"]) for row in right]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, help="folder of Clothing Co-Parsing")
    parser.add_argument("garments", type=Path, help="folder of the clothing dataset")
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--scenes", type=int, default=1500, help="pictures in which something is pasted")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.out.exists():
        parser.error(f"{args.out} exists already; give a new folder")
    persons, clothes = people(args.people, "train"), garments(args.garments, "train")
    order = np.random.default_rng(args.seed).permutation(len(persons))
    splits = {
        "validation-people": [persons[i] for i in sorted(order[:VALIDATION_PEOPLE])],
        "validation-garments": clothes[::VALIDATION_GARMENTS],
        "test-people": people(args.people, "val"),
        "test-garments": garments(args.garments, "val"),
    }
    persons = [persons[i] for i in sorted(order[VALIDATION_PEOPLE:])]
    clothes = [each for i, each in enumerate(clothes) if i % VALIDATION_GARMENTS]
    scenes = Scenes(persons, clothes, args.seed)
    splits["train"] = [*persons * PEOPLE_TIMES, *clothes, *(partial(scenes.scene, i) for i in range(args.scenes))]
    for name, readers in splits.items():
        found = write(args.out / name, (read() for read in readers), len(readers))
        print(f"{name}: {len(readers)} images; " + ", ".join(f"{found[each]} {each}" for each in NAMES))


if __name__ == "__main__":
    main()
