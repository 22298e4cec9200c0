"""From logits to classes, segments and instances, as the original project and as transformers do it."""

from lucid_mlx.postprocessing import huggingface
from lucid_mlx.postprocessing.instance import Instances, instance_segmentation
from lucid_mlx.postprocessing.panoptic import PanopticResult, PanopticSegment, panoptic_segmentation
from lucid_mlx.postprocessing.post_process import post_process
from lucid_mlx.postprocessing.semantic import semantic_segmentation
from lucid_mlx.postprocessing.video import VideoInstances, video_instances

__all__ = [
    "Instances",
    "PanopticResult",
    "PanopticSegment",
    "VideoInstances",
    "huggingface",
    "instance_segmentation",
    "panoptic_segmentation",
    "post_process",
    "semantic_segmentation",
    "video_instances",
]
