"""Measure the accuracy of a model on labeled images."""

from lucid_mlx.evaluation.evaluate import evaluate, match_classes
from lucid_mlx.evaluation.instance import InstanceMetrics
from lucid_mlx.evaluation.panoptic import PanopticMetrics
from lucid_mlx.evaluation.report import Evaluation
from lucid_mlx.evaluation.semantic import SemanticMetrics

__all__ = [
    "Evaluation",
    "InstanceMetrics",
    "PanopticMetrics",
    "SemanticMetrics",
    "evaluate",
    "match_classes",
]
