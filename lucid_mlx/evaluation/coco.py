"""Ground truth and predictions in COCO's format, for evaluators that read it."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lucid_mlx.data.dataset import Dataset, Target
from lucid_mlx.data.masks import RunMasks
from lucid_mlx.results.segmentation import Segmentation


class CocoMetrics:
    """Collects ground truth and predictions as two datasets in COCO's format. Masks are RLE: some kilobytes an image.

    Args:
        dataset: the ground truth.
        class_mapping: the dataset's class for each of the model's; predictions of other classes are left out.
        class_ids: the dataset's classes to evaluate.

    Attributes:
        categories: the evaluated classes, in COCO's format.
    """

    def __init__(self, dataset: Dataset, class_mapping: Mapping[int, int], class_ids: Collection[int]):
        self._class_mapping = {key: class_id for key, class_id in class_mapping.items() if class_id in class_ids}
        self._class_ids = class_ids
        self.categories: list[dict[str, Any]] = [
            {"id": class_id, "name": dataset.class_names[class_id], "isthing": int(class_id in dataset.thing_ids)}
            for class_id in sorted(class_ids)
        ]
        self._images: list[dict[str, Any]] = []
        self._ground_truth: list[dict[str, Any]] = []
        self._predictions: list[dict[str, Any]] = []

    def update(self, prediction: Segmentation, target: Target) -> None:
        """Add an image.

        Args:
            prediction: the model's result.
            target: the ground truth, of the same size.
        """
        height, width = prediction.map.shape
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "height": height, "width": width, "file_name": str(image_id)})
        for index, (class_id, crowd, area) in enumerate(zip(*target[1:4], strict=True)):
            if int(class_id) in self._class_ids:
                rle = _rle(target, index)
                annotation = {
                    "id": len(self._ground_truth) + 1,
                    "image_id": image_id,
                    "category_id": int(class_id),
                    "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")},
                    "area": float(area),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "iscrowd": int(crowd),
                }
                self._ground_truth.append(annotation)
        for annotation in prediction.to_coco(image_id, len(self._predictions) + 1):
            category_id = self._class_mapping.get(annotation["category_id"])
            if category_id is not None:
                self._predictions.append({**annotation, "category_id": category_id})

    @property
    def ground_truth(self) -> dict[str, Any]:
        """The ground truth, in COCO's format."""
        return self._dataset(self._ground_truth)

    @property
    def predictions(self) -> dict[str, Any]:
        """The predictions, in COCO's format."""
        return self._dataset(self._predictions)

    def _dataset(self, annotations: list[dict[str, Any]]) -> dict[str, Any]:
        return {"info": {}, "images": self._images, "annotations": annotations, "categories": self.categories}


def _rle(target: Target, index: int) -> dict[str, Any]:
    if isinstance(target.masks, RunMasks):
        return target.masks.rle(index)
    encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(target.masks[index]).view(np.uint8))
    return encoded
