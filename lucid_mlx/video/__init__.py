"""Videos: read and write frames, and track segments from frame to frame."""

from lucid_mlx.video.match import match_queries
from lucid_mlx.video.minvis import MatchedQueries, match_frames, query_embeddings
from lucid_mlx.video.segment_video import segment_video
from lucid_mlx.video.tracking import Tracker
from lucid_mlx.video.video_segmenter import VideoSegmenter

__all__ = [
    "MatchedQueries",
    "Tracker",
    "VideoSegmenter",
    "match_frames",
    "match_queries",
    "query_embeddings",
    "segment_video",
]
