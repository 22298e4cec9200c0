"""From the network's queries to classes, segments and objects, as the original project and as transformers do it."""

from lucid_mlx.images.postprocess import huggingface
from lucid_mlx.images.postprocess.instance import Instances, instance_segmentation
from lucid_mlx.images.postprocess.modes import post_process
from lucid_mlx.images.postprocess.panoptic import Panoptic, Segment, panoptic_segmentation
from lucid_mlx.images.postprocess.semantic import semantic_segmentation

__all__ = [
    "Instances",
    "Panoptic",
    "Segment",
    "huggingface",
    "instance_segmentation",
    "panoptic_segmentation",
    "post_process",
    "semantic_segmentation",
]
