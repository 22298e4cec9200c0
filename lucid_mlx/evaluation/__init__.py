"""Measure the accuracy of a model on labeled images."""

from lucid_mlx.evaluation.evaluate import evaluate, match_classes
from lucid_mlx.evaluation.instance import InstanceMetrics
from lucid_mlx.evaluation.panoptic import PanopticMetrics
from lucid_mlx.evaluation.report import Evaluation
from lucid_mlx.evaluation.semantic import SemanticMetrics
from lucid_mlx.evaluation.video import evaluate_video_results, evaluate_videos

__all__ = [
    "Evaluation",
    "InstanceMetrics",
    "PanopticMetrics",
    "SemanticMetrics",
    "evaluate",
    "evaluate_video_results",
    "evaluate_videos",
    "match_classes",
]
