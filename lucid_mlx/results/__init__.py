"""What a user gets: the segments of an image, and their exports."""

from lucid_mlx.results.export import coco_categories
from lucid_mlx.results.segment import Segment
from lucid_mlx.results.segmentation import Segmentation

__all__ = ["Segment", "Segmentation", "coco_categories"]
