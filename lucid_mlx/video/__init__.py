"""Videos: read and write frames, and track segments from frame to frame."""

from lucid_mlx.video.segment_video import segment_video
from lucid_mlx.video.tracking import Tracker

__all__ = ["Tracker", "segment_video"]
