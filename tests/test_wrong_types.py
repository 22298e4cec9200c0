"""Values of wrong types, and numbers out of all bounds, give one sentence wherever they are passed."""

import math

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_config

import lucid_mlx
from lucid_mlx import ImageConfig, InputError, Segmentation, Segmenter, Thresholds
from lucid_mlx.data import label_map_dataset
from lucid_mlx.evaluation import Evaluation, evaluate
from lucid_mlx.models import Mask2Former, create_model, list_models
from lucid_mlx.postprocessing import (
    huggingface,
    instance_segmentation,
    panoptic_segmentation,
    post_process,
    semantic_segmentation,
)
from lucid_mlx.postprocessing.instance import Instances
from lucid_mlx.preprocessing import batches, preprocess
from lucid_mlx.training import Trainer
from lucid_mlx.utils.validation import check_value, value_problem, whole_numbers
from lucid_mlx.visualization import draw_semantic, palette
from lucid_mlx.weights import get_enum, list_available, resolve
from lucid_mlx.weights.address import parse_address

OUTPUTS = {"class_queries_logits": mx.zeros((1, 3, 4)), "masks_queries_logits": mx.zeros((1, 3, 8, 8))}
GRAY = np.zeros((6, 8, 3), np.uint8)
MAP = np.zeros((6, 8), np.int32)
WRONG = [10**400, math.nan, [[]], object(), "\ud800"]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize(
    "call",
    [
        lambda x: Thresholds(threshold=x),
        lambda x: Thresholds(top_k=x),
        lambda x: Segmenter(x),
        lambda x: lucid_mlx.load(x),
        lambda x: lucid_mlx.load("demo", dtype=x),
        lambda x: Mask2Former(x),
        lambda x: create_model(x),
        lambda x: list_models(x),
        lambda x: lucid_mlx.random.randn(x),
        lambda x: parse_address(x),
        lambda x: get_enum(x),
        lambda x: list_available(x),
        lambda x: resolve(x),
        lambda x: ImageConfig.from_dict(x),
        lambda x: next(batches([GRAY], ImageConfig(), x)),
        lambda x: next(batches([GRAY], x, 1)),
        lambda x: preprocess(GRAY, x),
        lambda x: post_process(OUTPUTS, x),
        lambda x: post_process(OUTPUTS, "semantic", compatible=x),
        lambda x: semantic_segmentation(x, (32, 32)),
        lambda x: semantic_segmentation(OUTPUTS, x),
        lambda x: semantic_segmentation(OUTPUTS, (32, 32), [(x, 4)]),
        lambda x: instance_segmentation(OUTPUTS, (32, 32), top_k=x),
        lambda x: instance_segmentation(OUTPUTS, (32, 32), thing_ids=x),
        lambda x: panoptic_segmentation(OUTPUTS, (32, 32), thing_ids=x),
        lambda x: panoptic_segmentation(OUTPUTS, (32, 32), thing_ids=(), mask_threshold=x),
        lambda x: huggingface.post_process_panoptic_segmentation(OUTPUTS, threshold=x),
        lambda x: huggingface.post_process_panoptic_segmentation(OUTPUTS, label_ids_to_fuse=x),
        lambda x: huggingface.post_process_instance_segmentation(OUTPUTS, return_binary_maps=x),
        lambda x: palette(x),
        lambda x: palette({0: x}),
        lambda x: palette({0: "a"}, x),
        lambda x: draw_semantic(x, MAP, {0: "a"}),
        lambda x: draw_semantic(GRAY, x, {0: "a"}),
        lambda x: draw_semantic(GRAY, MAP, x),
        lambda x: draw_semantic(GRAY, MAP, {0: "a"}, opacity=x),
        lambda x: draw_semantic(GRAY, MAP, {0: "a"}, colors=x),
        lambda x: Segmentation.from_semantic(x, MAP, {0: "a"}),
        lambda x: Segmentation.from_semantic(GRAY, x, {0: "a"}),
        lambda x: Segmentation.from_semantic(GRAY, MAP, x),
        lambda x: Segmentation.from_semantic(GRAY, MAP, {0: "a"}).only(x),
        lambda x: Segmentation.from_semantic(GRAY, MAP, {0: "a"}).mask(x),
        lambda x: Segmentation.from_semantic(GRAY, MAP, {0: "a"}).save(x),
        lambda x: Segmentation.from_semantic(GRAY, MAP, {0: "a"}).to_panoptic_png(x),
        lambda x: evaluate(x, x),
        lambda x: Trainer(x, "folder"),
        lambda x: Evaluation.from_json(x),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_one_short_sentence(call, value):
    with pytest.raises(InputError) as error:
        call(value)
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), mx.array(0.5)])
def test_a_number_of_an_array_library_says_how_to_make_one_of_python(value):
    with pytest.raises(InputError, match=r"threshold must be a number or None, got .*; use its \.item\(\)"):
        Thresholds(threshold=value)
    Thresholds(threshold=value.item())


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(Mask2Former(small_config()))


@pytest.mark.parametrize("value", [*WRONG, 1025, -1])
def test_a_segmenter_tells_wrong_arguments(segmenter, value):
    for name in ("task", "size", "image_config", "thing_ids", "threshold"):
        if (name, value) != ("size", 1025):
            with pytest.raises(InputError):
                Segmenter(segmenter.model, **{name: value})
    for name in ("batch_size", "thresholds", "threshold", "bgr", "on_error"):
        with pytest.raises(InputError, match=f"{name} must be"):
            segmenter(GRAY, **{name: value})
    with pytest.raises(InputError):
        segmenter(value)


@pytest.mark.parametrize(
    "weights",
    [
        "https://[x",
        "http://[::1",
        "a\0b",
        "~nobody-of-that-name/x",
        "x" * 100_000,
        b"demo",
        "hf://a/b/../c",
        "https://huggingface.co/a/b/resolve/main/%2e%2e/c",
    ],
)
def test_an_address_that_cannot_be_is_told(weights):
    with pytest.raises(InputError) as error:
        parse_address(weights)
    assert len(str(error.value)) < 1000


def test_a_result_that_takes_too_much_memory_is_refused():
    with pytest.raises(InputError, match="target_sizes is 100000x100000 pixels, which take"):
        semantic_segmentation(OUTPUTS, (32, 32), [(100_000, 100_000)])


def test_masks_are_read_of_objects_that_are_there_alone():
    (found,) = instance_segmentation(OUTPUTS, (32, 32), top_k=2)
    assert isinstance(found, Instances)
    for indices in ([2], [-1], [10**400], ["0"], 3):
        with pytest.raises(InputError, match="indices must be"):
            found.masks(indices)


def test_whole_numbers_may_come_from_an_array_but_have_an_end():
    assert whole_numbers("ids", np.array([1, 2])) == [1, 2]
    for values in (range(10**9), iter([1]), np.array([1.5]), "12", None):
        with pytest.raises(InputError, match="ids must be"):
            whole_numbers("ids", values)


def test_a_value_is_compared_with_its_type_and_range():
    assert value_problem("x", 3, int, 1, 3) is None
    assert value_problem("x", 4, int, 1, 3) == "x must be at most 3, got 4"
    assert value_problem("x", [1, 0], list[int] | None, 1, 3) == "x must be at least 1, got [1, 0]"
    assert value_problem("x", True, float) == "x must be a number, got True"
    assert value_problem("x", None, str | None) is None
    with pytest.raises(InputError, match="x must be a number, got 1000"):
        check_value("x", 10**400, float)


def test_the_whole_disk_is_no_folder_of_images(tmp_path):
    with pytest.raises(InputError, match="/ is the whole disk; expected the folder with the images"):
        label_map_dataset("/", tmp_path, ["a"])


def test_sizes_that_no_memory_holds_are_refused():
    logits = {"class_queries_logits": mx.zeros((1, 2, 3)), "masks_queries_logits": mx.zeros((1, 2, 4, 4))}
    for side in (2**31, 2**63, 10**400, 10**5000):
        with pytest.raises(InputError, match="input_size is"):
            semantic_segmentation(logits, (32, side), target_sizes=[(8, 12)])
