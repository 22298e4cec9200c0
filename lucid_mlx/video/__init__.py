"""Videos: frames in and out, and which segment of a frame is which of the frame before."""

from lucid_mlx.video.segment_video import segment_video
from lucid_mlx.video.tracking import Tracker

__all__ = ["Tracker", "segment_video"]
