"""Videos: read and write frames, and track segments from frame to frame."""

from lucid_mlx.video.segment_video import segment_video
from lucid_mlx.video.tracking import Tracker
from lucid_mlx.video.video_segmenter import VideoSegmenter

__all__ = ["Tracker", "VideoSegmenter", "segment_video"]
