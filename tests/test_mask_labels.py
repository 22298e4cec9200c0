"""The masks that the loss takes: what their values mean, in `forward`, in `get_loss_dict` and in training."""

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_config

from lucid_mlx import InputError
from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.mask2former.targets import read_targets
from lucid_mlx.training import loss_and_gradients

MASKS = np.random.default_rng(0).random((2, 32, 48)) > 0.5
CLASSES = [mx.array([0, 1])]


@pytest.fixture(scope="module")
def model():
    return Mask2Former(small_config(train_num_points=64))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16])
@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_0_and_1_and_of_0_and_255_mean_what_booleans_do(model, dtype, high):
    pixels, key = mx.random.normal((1, 3, 32, 48), key=mx.random.key(1)), mx.random.key(2)
    wanted = model(pixels, [mx.array(MASKS)], CLASSES, key=key)["loss"]
    masks = [mx.array((MASKS * high).astype(dtype))]
    assert model(pixels, masks, CLASSES, key=key)["loss"].item() == wanted.item()
    losses, _ = loss_and_gradients(model, pixels, masks, CLASSES, key)
    assert sum(x.item() for x in losses.values()) == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("masks", "values"),
    [
        (MASKS * np.uint8(2), "0 to 2"),
        (MASKS * np.uint8(254), "0 to 254"),
        (np.where(MASKS, np.uint8(255), np.uint8(1)), "1 to 255"),
        (MASKS * np.int32(-1), "-1 to 0"),
        (MASKS * np.float32(1.5), "0 to 1.5"),
        (MASKS * np.float32("nan"), "nan to nan"),
    ],
)
def test_other_values_are_refused(masks, values):
    with pytest.raises(InputError, match=f"image 0 of the batch has masks with values from {values}.*; expected bool"):
        read_targets([mx.array(masks)], CLASSES, 1, 5)


def test_soft_masks_and_whole_ones_are_kept():
    for masks in (MASKS * np.float32(0.25), np.ones_like(MASKS, np.uint8), np.zeros_like(MASKS, np.uint8)):
        (kept,) = read_targets([mx.array(masks)], CLASSES, 1, 5).masks
        assert np.array_equal(kept, masks)
    (kept,) = read_targets([mx.array(np.full_like(MASKS, 255, np.uint8))], CLASSES, 1, 5).masks
    assert np.array_equal(kept, np.ones_like(MASKS))


@pytest.mark.parametrize(
    ("masks", "classes"),
    [(None, [0, 1]), (object(), [0, 1]), (MASKS, ["a", "b"]), (MASKS, [None, None]), (MASKS, [[0], [1, 2]])],
)
def test_what_is_no_array_of_numbers_is_told(masks, classes):
    with pytest.raises(InputError, match="must be (arrays, or lists of|whole) numbers"):
        read_targets([masks], [classes], 1, 5)
