"""What a user gets: the segments of an image, and their exports."""

from lucid_mlx.results.export import coco_categories
from lucid_mlx.results.segment import Segment
from lucid_mlx.results.segmentation import Segmentation
from lucid_mlx.results.segmented_image import SegmentedImage
from lucid_mlx.results.tracks import Frame, Track
from lucid_mlx.results.video import VideoSegmentation

__all__ = ["Frame", "Segment", "Segmentation", "SegmentedImage", "Track", "VideoSegmentation", "coco_categories"]
