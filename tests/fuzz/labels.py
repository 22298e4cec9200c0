"""COCO's annotations: instances, and panoptic segments with their PNGs."""

import copy
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz.nasty import DEEP, FLOATS, INTS, RAW_JSON, STRINGS, damaged, mutated, to_json, tree
from fuzz.pictures import png
from fuzz.worker import Target, command_line, digest
from labeled import PANOPTIC, instances, panoptic, write_coco
from PIL import Image

from lucid_mlx.data import coco_dataset, open_dataset, validate

IDS = (*INTS, *STRINGS[:30], None, True, False, 1.5, [], [7], {}, {"a": 1}, 7.0, float("nan"), "7")
COORDINATES = (*FLOATS, *INTS, 2.2e8, 2e9, 4e9, 1e10, -1e9, 1e18, 1e19, 1e5, -1e5, 1e7, None, "1", [], True)
FILES = (*STRINGS, "a.png", "../coco.json", "../coco/a.png", "/dev/zero", "/dev/null", "../../..", "pipe", "b.png")


class _Coco(Target):
    """A folder with an image and its annotations.

    Args:
        folder: to write in.
        raw: good annotations.
    """

    def __init__(self, folder: Path, raw: dict[str, Any]):
        self._raw = raw
        self._images, self._json = write_coco(folder, raw)
        self._png = (folder / "coco" / "a.png").read_bytes()
        self._image = (folder / "images" / "a.png").read_bytes()

    def good(self) -> object:
        """Read good annotations."""
        return _read(self._images, self._json)

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Write wrong annotations, or wrong files beside good ones."""
        images, annotations = folder / "images", folder / "coco.json"
        images.mkdir()
        (folder / "coco").mkdir()
        text, image, segments = self._wrong(rng)
        annotations.write_bytes(text.encode("utf-8", "surrogatepass"))
        (images / "a.png").write_bytes(image)
        (folder / "coco" / "a.png").write_bytes(segments)
        kind = rng.random()
        if kind < 0.02:
            options = ("--weights", "demo", "--images", images, "--annotations", annotations, "--size", 32)
            return lambda: command_line("eval", *options)
        if kind < 0.1:
            return lambda: validate(open_dataset(images, annotations))
        return lambda: _read(images, annotations)

    def _wrong(self, rng: Random) -> tuple[str, bytes, bytes]:
        raise NotImplementedError

    def _any(self, rng: Random) -> str:
        """Write annotations that are wrong in some way that all have."""
        raw = copy.deepcopy(self._raw)
        kind = rng.randrange(10)
        if kind == 0:
            return rng.choice(
                (*RAW_JSON, '{"images":' + "[" * DEEP, "[" * DEEP, "null", "[]", "5", "{", "\ufeff{}", "\0", "")
            )
        if kind == 1:
            key = rng.choice(("images", "annotations", "categories"))
            raw[key] = rng.choice(
                (tree(rng), raw[key] * 2, [], [[]], [None], {}, [tree(rng)], raw[key] * 5000, rng.choice(RAW_JSON))
            )
        elif kind == 2:
            entry = rng.choice(raw["images"] + raw["categories"] + raw["annotations"])
            entry[rng.choice([key for key in entry if "id" in key])] = rng.choice(IDS)
        elif kind == 3:
            sides = (*INTS, 4, 6, 1.5, "4", None, 20_000, 100_000, [])
            raw["images"][0] |= {"height": rng.choice(sides), "width": rng.choice(sides)}
        elif kind == 4:
            rng.choice(raw["images"] + raw["annotations"])["file_name"] = rng.choice((*FILES, *IDS))
        elif kind == 5:
            rng.choice(raw["categories"])[rng.choice(("name", "isthing", "supercategory"))] = rng.choice(
                (*IDS, tree(rng))
            )
        else:
            raw = mutated(rng, raw, rng.choice((1, 1, 2, 4)))
        return to_json(raw)


class Coco(_Coco):
    """Objects as polygons and RLE."""

    def __init__(self, folder: Path):
        super().__init__(folder, instances())

    def _wrong(self, rng: Random) -> tuple[str, bytes, bytes]:
        if rng.random() < 0.35:
            return self._any(rng), self._image, self._png
        raw = copy.deepcopy(self._raw)
        if rng.random() < 0.3:  # the RLE must fit these
            raw["images"][0] |= {"height": rng.choice((1, 4, 1000)), "width": rng.choice((1, 6, 1000))}
        size = [raw["images"][0]["height"], raw["images"][0]["width"]]
        for annotation in raw["annotations"]:
            if isinstance(annotation["segmentation"], dict):
                annotation["segmentation"] = {"size": size, "counts": [0, size[0] * size[1]]}
        entry = rng.choice(raw["annotations"])
        kind = rng.randrange(8)
        if kind <= 3:
            entry["segmentation"] = _polygons(rng)
        elif kind <= 6:
            entry["segmentation"] = _rle(rng, size)
        else:
            entry[rng.choice(("area", "iscrowd", "segmentation", "bbox"))] = rng.choice((*COORDINATES, tree(rng)))
        return to_json(raw), self._image, self._png


class Panoptic(_Coco):
    """Segments in a PNG."""

    def __init__(self, folder: Path):
        super().__init__(folder, panoptic())

    def _wrong(self, rng: Random) -> tuple[str, bytes, bytes]:
        good = json.dumps(self._raw)
        kind = rng.randrange(10)
        if kind <= 2:
            return self._any(rng), self._image, self._png
        if kind <= 5:
            raw = copy.deepcopy(self._raw)
            info = raw["annotations"][0]["segments_info"]
            entry = rng.choice(info)
            change = rng.randrange(6)
            if change == 0:
                entry["id"] = rng.choice((*IDS, 2**24 - 1, 2**24, 2**24 + 5, 300))
            elif change == 1:
                entry["category_id"] = rng.choice(IDS)
            elif change == 2:
                entry[rng.choice(("iscrowd", "area", "bbox", "isthing"))] = rng.choice((*COORDINATES, tree(rng)))
            elif change == 3:
                raw["annotations"][0]["segments_info"] = rng.choice(
                    (info * 2, [], [None], {}, [[]], info * 5000, tree(rng))
                )
            elif change == 4:
                info[:] = [{"id": number + 1, "category_id": 1} for number in range(rng.choice((1, 100, 10_000)))]
            else:
                raw["annotations"][0] = mutated(rng, raw["annotations"][0], rng.choice((1, 2, 3)))
            return to_json(raw), self._image, self._png
        if kind <= 7:
            return good, self._image, self._segments(rng)
        return good, self._segments(rng), self._png

    def _segments(self, rng: Random) -> bytes:
        """A PNG that is damaged, of another size or kind, or no PNG."""
        kind = rng.randrange(7)
        if kind <= 2:
            return damaged(rng, self._png)
        if kind == 3:
            sides = (0, 1, 4, 6, 100, 10_000, 30_000, 2**31 - 1, 2**32 - 1)
            return png(
                rng.choice(sides),
                rng.choice(sides),
                zlib.compress(rng.choice((b"", bytes(100), bytes(10**6)))),
                rng.randrange(7),
                rng.choice((1, 8, 16, 3)),
            )
        if kind == 4:
            mode = rng.choice(("L", "P", "1", "RGBA", "LA", "I", "I;16", "RGB"))
            return _saved(Image.new(mode, rng.choice(((6, 4), (4, 6), (1, 1), (600, 400)))), "PNG")
        if kind == 5:
            colors = np.stack([PANOPTIC & 255, PANOPTIC >> 8 & 255, PANOPTIC >> 16], -1).astype(np.uint8)
            image = Image.fromarray(colors)
            return _saved(image, rng.choice(("JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA", "ICO")))
        return rng.choice((b"", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"%PDF", b"GIF89a", b"\0" * 100, rng.randbytes(200)))


def _polygons(rng: Random) -> Any:
    """Polygons of extreme, few, many or wrong numbers."""
    kind = rng.randrange(8)
    if kind == 0:
        far = rng.choice((2.2e8, 2.2e8, 1e6, 1e9, 2e9, 2**31, 1e10, 1e12, 1e18, 1e300, -2.2e8, 1e5))
        return [
            rng.choice(
                (
                    [0, 0, far, 0, far, 3],
                    [0, 0, 0, far, 3, far],
                    [far] * 6,
                    [-far, -far, far, -far, far, far],
                    [0, far, far, 0, -far, -far],
                )
            )
        ]
    if kind == 1:
        return [[rng.uniform(-10, 10) for _ in range(rng.choice((0, 1, 2, 4, 5, 6, 7, 100, 100_000)))]]
    if kind == 2:
        return [[rng.choice((0, 1, 2, 6)) for _ in range(6)] for _ in range(rng.choice((0, 1, 100, 20_000)))]
    if kind == 3:
        return [[rng.choice((0, 1, 1e-300, 0.5, 5.999999, -0.0, 4.0)) for _ in range(8)]]
    if kind == 4:
        return rng.choice(
            (
                [[]],
                [None],
                [5],
                ["a"],
                [{}],
                [[[]]],
                [[0, 0]],
                5,
                "a",
                None,
                {},
                [0, 0, 1, 0, 1, 1],
                [[True] * 6],
                tree(rng),
            )
        )
    if kind == 5:
        return [[rng.choice((0, 5, 2e7, 1e5, -1e5)) for _ in range(2 * rng.randrange(3, 50))]]
    points: list[Any] = [0, 0, 4, 0, 4, 3, 1, 3]
    points[rng.randrange(8)] = rng.choice(COORDINATES)
    return [points]


def _rle(rng: Random, size: list[int]) -> Any:
    """RLE whose size or counts are wrong."""
    total = size[0] * size[1]
    kind = rng.randrange(6)
    characters = "".join(map(chr, range(48, 112)))
    if kind == 0:
        counts: Any = rng.choice(
            (
                "",
                "0",
                "n",
                "o" * 1000,
                "P" * 10**5,
                "\x00",
                "\x7f",
                "é",
                "\ud800",
                "0" * 10**6,
                "o0o0",
                "_" * 10,
                "a\nb",
            )
        )
    elif kind == 1:
        counts = "".join(rng.choice(characters) for _ in range(rng.choice((1, 2, 5, 20, 1000))))
    elif kind == 2:
        counts = [rng.choice((*INTS, 0, 1, 2, total)) for _ in range(rng.randrange(6))]
    elif kind == 3:
        counts = rng.choice(([total], [0, total], [0] * 10**5 + [total], [total, 0, 0], [total + 2**32], [2**31,
            total - 2**31], [2**32, total - 2**32],
                             [-1, total + 1], [True] * total, [1.0, total - 1], [None], [[total]], {}, 5, None, ["1"],
                             [total - 1, 1.5]))  # fmt: skip
    elif kind == 4:
        sizes = (
            [4, 6],
            [6, 4],
            [10**5, 10**5],
            [2**31, 2],
            [2**63, 2**63],
            [0, 0],
            [-1, -24],
            [4],
            [4, 6, 1],
            "46",
            None,
            [4.0, 6.0],
            [True, 24],
        )
        return {"size": rng.choice(sizes), "counts": rng.choice(([0, 2, 22], "0", "", None))}
    else:
        return mutated(rng, {"size": size, "counts": [0, total]}, rng.randrange(1, 3))
    return {"size": size, "counts": counts}


def _saved(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def _read(images: Path, annotations: Path) -> object:
    dataset = coco_dataset(images, annotations)
    found = [dataset.task, dataset.class_names, sorted(dataset.thing_ids)]
    for record in dataset.records:
        target = record.target()
        found += [digest(record.image()), digest(np.asarray(target.masks), *target[1:])]
    return found
