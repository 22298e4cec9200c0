"""Truth and finding in COCO's terms, for evaluators that read these."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.results.segmentation import Segmentation


class CocoMetrics:
    """Collects two datasets in COCO's format, what is there and what was found; run lengths, some kilobytes an image.

    Args:
        dataset: what is there.
        classes: which class of the dataset each class of the network is; what it finds of others is left out.
        kept: the classes of the dataset that count.
    """

    def __init__(self, dataset: Dataset, classes: Mapping[int, int], kept: Collection[int]):
        self._classes = {number: place for number, place in classes.items() if place in kept}
        self._kept = kept
        self.categories: list[dict[str, Any]] = [
            {"id": place, "name": dataset.names[place], "isthing": int(place in dataset.things)}
            for place in sorted(kept)
        ]
        self._images: list[dict[str, Any]] = []
        self._true: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def add(self, found: Segmentation, target: Target) -> None:
        """Take an image's segments."""
        height, width = found.map.shape
        image = len(self._images) + 1
        self._images.append({"id": image, "height": height, "width": width, "file_name": str(image)})
        for mask, kind, crowd, area in zip(*target[:4], strict=True):
            if int(kind) in self._kept:
                runs = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))
                annotation = {
                    "id": len(self._true) + 1,
                    "image_id": image,
                    "category_id": int(kind),
                    "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")},
                    "area": float(area),
                    "bbox": coco_mask.toBbox(runs).tolist(),
                    "iscrowd": int(crowd),
                }
                self._true.append(annotation)
        for annotation in found.to_coco(image, len(self._found) + 1):
            place = self._classes.get(annotation["category_id"])
            if place is not None:
                self._found.append({**annotation, "category_id": place})

    @property
    def true(self) -> dict[str, Any]:
        """What is there."""
        return self._dataset(self._true)

    @property
    def found(self) -> dict[str, Any]:
        """What was found."""
        return self._dataset(self._found)

    def _dataset(self, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        return {"info": {}, "images": self._images, "annotations": annotations, "categories": self.categories}
