"""Read and write video files."""

from lucid_mlx.video.reader import VideoReader

__all__ = ["VideoReader"]
