"""Masks as COCO's compressed run lengths: exact, some kilobytes each, and without the network that made them."""

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

Runs = dict[str, Any]  # "size", height and width, and "counts", bytes


def to_runs(mask: np.ndarray) -> Runs:
    """Encode a mask, (H, W) bool."""
    runs: Runs = coco_mask.encode(np.asfortranarray(mask).view(np.uint8))
    return runs


def to_mask(runs: Runs) -> np.ndarray:
    """Decode a mask, (H, W) bool."""
    mask: np.ndarray = coco_mask.decode(runs).view(bool)
    return mask
