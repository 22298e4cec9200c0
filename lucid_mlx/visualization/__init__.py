"""Images of segmentations."""

from lucid_mlx.visualization.colors import palette
from lucid_mlx.visualization.draw import draw_instances, draw_panoptic, draw_semantic, side_by_side

__all__ = ["draw_instances", "draw_panoptic", "draw_semantic", "palette", "side_by_side"]
