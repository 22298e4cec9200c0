"""Post-processing for any task, as the original project or as transformers does it."""

from collections.abc import Callable
from typing import Any

from lucid_mlx.postprocessing import huggingface
from lucid_mlx.postprocessing.inputs import Outputs
from lucid_mlx.postprocessing.instance import instance_segmentation
from lucid_mlx.postprocessing.panoptic import panoptic_segmentation
from lucid_mlx.postprocessing.semantic import semantic_segmentation
from lucid_mlx.utils.validation import check_choice

_FUNCTIONS: dict[str, dict[str, Callable[..., list[Any]]]] = {
    "original": {
        "semantic": semantic_segmentation,
        "instance": instance_segmentation,
        "panoptic": panoptic_segmentation,
    },
    "huggingface": {
        "semantic": huggingface.post_process_semantic_segmentation,
        "instance": huggingface.post_process_instance_segmentation,
        "panoptic": huggingface.post_process_panoptic_segmentation,
    },
}


def post_process(outputs: Outputs, task: str, *, compatible: str = "original", **options: Any) -> list[Any]:
    """Turn the network's outputs into the results of a task, as the original project or as transformers does.

    Args:
        outputs: the network's outputs, with `class_queries_logits` and `masks_queries_logits`.
        task: "semantic", "instance" or "panoptic".
        compatible: "original" for the paper's post-processing; "huggingface" for the results of transformers'
            `post_process_*`, with its mistakes.
        **options: options of the function for the task: `semantic_segmentation`, `instance_segmentation`,
            `panoptic_segmentation`, or the functions in `lucid_mlx.postprocessing.huggingface`.

    Returns:
        A list with the results of that function, one for each image.

    Raises:
        InputError: if the task or `compatible` is unknown, or that function raises it.
    """
    check_choice("compatible", compatible, _FUNCTIONS)
    functions = _FUNCTIONS[compatible]
    check_choice("task", task, functions)
    return functions[task](outputs, **options)
