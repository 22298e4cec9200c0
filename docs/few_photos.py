"""Make two small sets of labeled photos, with a training file each, that show what few photos are worth.

    python docs/few_photos.py clothing-co-parsing clothing thin-resnet few
    lucid-mlx train few/people/train.toml --output people-run
    lucid-mlx train few/garments/train.toml --output garments-run

The first two folders are those of examples/people_and_garments.py, and the third is what examples/open_nsfw_backbone.py
wrote. Each set has 50 photos to train on and 100 to validate with, none of them of the sets' test photos: people in
the street with five classes, and single garments of five kinds, ten photos of each.
"""

import argparse
import csv
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOS = {"train": 50, "validation": 100}
# Classes of the photos of people, each with those of Clothing Co-Parsing that it is made of.
PEOPLE = {
    "background": ["background"],
    "body": ["skin", "hair"],
    "top": [
        *("coat", "cape", "jacket", "blazer", "suit", "shirt", "blouse", "t-shirt", "top", "vest", "sweater", "jumper"),
        *("cardigan", "sweatshirt", "hoodie", "dress", "romper", "bodysuit"),
    ],
    "bottom": ["skirt", "pants", "jeans", "shorts", "stockings", "tights", "leggings"],
    "shoes": ["shoes", "boots", "heels", "pumps", "sneakers", "loafers", "flats", "sandals", "wedges", "clogs"],
}
GARMENTS = ("Hat", "Pants", "Shoes", "Shorts", "T-Shirt")

# The preset on smaller photos, and with a small network that has seen nothing but what its backbone has.
TRAINING = """preset = "few-photos"

[train]
images = "{images}"
annotations = "{labels}"
names = "{folder}/names.txt"
split = "{folder}/train.txt"
{merge}
[validation]
images = "{images}"
annotations = "{labels}"
names = "{folder}/names.txt"
split = "{folder}/validation.txt"
{merge}
[augmentation]
kind = "jitter"
size = 256
min_scale = 0.5
max_scale = 1.5
color_jitter = true

[network]
backbone_weights = "{backbone}"
size = "256/256"

[network.fields]
feature_size = 128
mask_feature_size = 128
hidden_dim = 128
num_queries = 40
encoder_layers = 2
encoder_feedforward_dim = 384
decoder_layers = 5
dim_feedforward = 512
train_num_points = 4096

[optimizer]
learning_rate = 4e-4
backbone_multiplier = 0.2
max_grad_norm = 0.1
"""


def write(
    folder: Path, images: Path, labels: Path, backbone: Path, splits: Sequence[Sequence[str]], merged: bool
) -> None:
    """Write the lists of photos and the training file."""
    for (name, count), photos in zip(PHOTOS.items(), splits, strict=True):
        assert len(photos) == count
        (folder / f"{name}.txt").write_text("\n".join(photos) + "\n")
    paths = {"folder": folder, "images": images, "labels": labels, "backbone": backbone}
    paths = {name: path.resolve() for name, path in paths.items()}
    merge = f'merge = "{paths["folder"]}/merge.json"\n' if merged else ""
    (folder / "train.toml").write_text(TRAINING.format(**paths, merge=merge))


def people(source: Path, folder: Path, backbone: Path) -> None:
    """Prepare the photos of people: the first ones of the training list."""
    folder.mkdir(parents=True)
    names = (source / "train.txt").read_text().split()
    train, validation = names[: PHOTOS["train"]], names[PHOTOS["train"] :][: PHOTOS["validation"]]
    (folder / "names.txt").write_text((source / "names.txt").read_text())
    (folder / "merge.json").write_text(json.dumps(PEOPLE))
    write(folder, source / "images", source / "labels", backbone, (train, validation), merged=True)


def garments(source: Path, folder: Path, backbone: Path) -> None:
    """Prepare the photos of garments, with label maps made of their masks."""
    (folder / "labels").mkdir(parents=True)
    with (source / "photos.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    splits: dict[str, list[str]] = {name: [] for name in PHOTOS}
    for value, label in enumerate(GARMENTS, 1):
        photos = (row["image"] for row in rows if row["label"] == label)
        for name, count in PHOTOS.items():
            for photo in islice(photos, count // len(GARMENTS)):
                mask = np.asarray(Image.open(source / "masks" / f"{photo}.png").convert("L")) > 0
                Image.fromarray(mask.astype(np.uint8) * np.uint8(value)).save(folder / "labels" / f"{photo}.png")
                splits[name].append(photo)
    (folder / "names.txt").write_text("\n".join(("background", *GARMENTS)) + "\n")
    write(folder, source / "images", folder / "labels", backbone, list(splits.values()), merged=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("people", "garments", "backbone", "out"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    people(args.people, args.out / "people", args.backbone)
    garments(args.garments, args.out / "garments", args.backbone)


if __name__ == "__main__":
    main()
