"""Small labeled images in every format, and small files in place of Fashion-MNIST's."""

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from helpers import PHOTO
from PIL import Image

NAMES = ("sky", "sea", "boat")
SEMANTIC = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 2, 2, 0, 0], [1, 1, 2, 2, 1, 255], [1, 1, 1, 1, 1, 255]], np.uint8)
SQUARE = [2, 1, 4, 1, 4, 3, 2, 3]  # the boat as a polygon


def write_image(path: Path, size: tuple[int, int] = (4, 6), seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def write_label_maps(folder: Path, count: int = 2, labels: np.ndarray = SEMANTIC) -> tuple[Path, Path]:
    """Images and label maps of the same names."""
    (folder / "labels").mkdir(parents=True)
    for number in range(count):
        write_image(folder / "images" / f"{number}.png", labels.shape, number)
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
    return folder / "images", folder / "labels"


def instances() -> dict[str, Any]:
    """An instances file with a polygon, an RLE, and a crowd."""
    rle = {"size": [4, 6], "counts": [0, 2, 22]}
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 4, "width": 6}],
        "categories": [{"id": 9, "name": "boat"}, {"id": 3, "name": "buoy"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 9, "iscrowd": 0, "area": 4.5, "segmentation": [SQUARE]},
            {"id": 2, "image_id": 7, "category_id": 3, "iscrowd": 0, "segmentation": rle},
            {"id": 3, "image_id": 7, "category_id": 9, "iscrowd": 1,
             "segmentation": {"size": [4, 6], "counts": [20, 4]}},
        ],
    }  # fmt: skip


def panoptic() -> dict[str, Any]:
    """A panoptic file with a crowd; its PNG has the ids 5, 300 and 70000, and 0 for unlabeled pixels."""
    infos = [
        {"id": 5, "category_id": 1, "iscrowd": 0},
        {"id": 300, "category_id": 2, "iscrowd": 0},
        {"id": 70000, "category_id": 2, "iscrowd": 1},
    ]
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 4, "width": 6}],
        "categories": [{"id": 2, "name": "boat", "isthing": 1}, {"id": 1, "name": "sky", "isthing": 0}],
        "annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": infos}],
    }


PANOPTIC = np.array([[5] * 6, [5, 5, 300, 300, 5, 5], [5, 5, 300, 300, 70000, 0], [5, 5, 5, 5, 70000, 0]], np.int32)


def write_coco(folder: Path, raw: dict[str, Any], ids: np.ndarray = PANOPTIC) -> tuple[Path, Path]:
    """The image folder and the JSON file."""
    write_image(folder / "images" / "a.png")
    (folder / "coco").mkdir(exist_ok=True)
    colors = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
    Image.fromarray(colors).save(folder / "coco" / "a.png")
    (folder / "coco.json").write_text(json.dumps(raw))
    return folder / "images", folder / "coco.json"


def write_garments(folder: Path, count: int = 20) -> Path:
    """Files as of Fashion-MNIST: gray shapes with a hole, bright in the training split and dark in the test split."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, brightness in (("train", 230), ("t10k", 120)):
        photos = np.zeros((count, 28, 28), np.uint8)
        for photo in photos:
            top, left = rng.integers(2, 6, 2)
            photo[top : 26 - left, left : 27 - top] = brightness
            photo[12:15, 12:15] = 0
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, shape, data in (("images-idx3", photos.shape, photos), ("labels-idx1", labels.shape, labels)):
            header = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape)
            (folder / f"{split}-{name}-ubyte.gz").write_bytes(gzip.compress(header + data.tobytes()))
    return folder


def load_scenes(name: str = "fashion_scenes") -> Any:
    """An example, as a module."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, PHOTO.parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]
