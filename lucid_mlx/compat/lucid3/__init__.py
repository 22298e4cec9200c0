"""lucid 3's names for Mask2Former, over the same network: a script runs with its imports changed to this module.

`from lucid.models.vision.mask2former import ...` becomes `from lucid_mlx.compat.lucid3 import ...`, and `import lucid`
becomes `import lucid_mlx.compat.lucid3 as lucid` where it is for `lucid.randn`.
"""

from lucid_mlx.compat.lucid3.builders import (
    mask2former_swin_base,
    mask2former_swin_large,
    mask2former_swin_small,
    mask2former_swin_tiny,
)
from lucid_mlx.compat.lucid3.config import Mask2FormerConfig
from lucid_mlx.compat.lucid3.model import Mask2FormerForSemanticSegmentation
from lucid_mlx.compat.lucid3.output import SemanticSegmentationOutput
from lucid_mlx.compat.lucid3.weights import (
    Mask2FormerSwinBaseWeights,
    Mask2FormerSwinLargeWeights,
    Mask2FormerSwinSmallWeights,
    Mask2FormerSwinTinyWeights,
    WeightEntry,
)
from lucid_mlx.random import randn

__all__ = [
    "Mask2FormerConfig",
    "Mask2FormerForSemanticSegmentation",
    "Mask2FormerSwinBaseWeights",
    "Mask2FormerSwinLargeWeights",
    "Mask2FormerSwinSmallWeights",
    "Mask2FormerSwinTinyWeights",
    "SemanticSegmentationOutput",
    "WeightEntry",
    "mask2former_swin_base",
    "mask2former_swin_large",
    "mask2former_swin_small",
    "mask2former_swin_tiny",
    "randn",
]
