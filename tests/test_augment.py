"""Images and masks are transformed alike, and all random numbers come from the generator."""

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lucid_mlx.data import Target
from lucid_mlx.training import LargeScaleJitter, ResizeAndCrop, shortest_edges
from lucid_mlx.training.augment import PADDING_VALUE, ssd_color_jitter
from lucid_mlx.utils.validation import FieldError

PALETTE = np.array([[250, 10, 30], [20, 240, 60], [40, 50, 230], [90, 200, 210]], np.uint8)


def blocks(height, width, seed=0, block=12):
    """A map of large blocks of classes 0 to 3 or -1, and an image with a color for each class."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-1, 4, (-(-height // block), -(-width // block)))
    classes = np.repeat(np.repeat(coarse, block, 0), block, 1)[:height, :width]
    image = np.where(classes[..., None] < 0, np.uint8(0), PALETTE[classes])
    return image, target_of(classes)


def target_of(classes, crowd=()):
    present = np.unique(classes[classes >= 0])
    masks = classes == present[:, None, None]
    areas = masks.sum(axis=(1, 2)).astype(float)
    return Target(masks, present.astype(np.int32), np.isin(present, crowd), areas, present.astype(object))


def class_map(sample):
    classes = np.full(sample.pixels.shape[:2], -1)
    for mask, class_id in zip(sample.masks, sample.class_ids, strict=True):
        assert mask.any()
        assert (classes[mask] == -1).all()
        classes[mask] = class_id
    return classes


AUGMENTATIONS = [
    LargeScaleJitter(48, 0.6, 2.0),
    LargeScaleJitter(48, 1.0, 1.0, flip=False),
    ResizeAndCrop((40, 60), 90, (40, 56), single_category_max_area=0.75, color_jitter=False),
    ResizeAndCrop((40, 60), 90, (20, 16), color_jitter=False),
]


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@given(st.integers(20, 70), st.integers(20, 70), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_masks_follow_the_image(augment, height, width, seed):
    image, target = blocks(height, width, seed)
    sample = augment(image, target, np.random.default_rng(seed))
    classes = class_map(sample)
    colors = np.vstack([PALETTE, [[0, 0, 0]], [[PADDING_VALUE] * 3]]).astype(int)
    distance = np.abs(sample.pixels[:, :, None].astype(int) - colors).max(axis=-1)
    nearest = distance.argmin(axis=-1)
    pure = distance.min(axis=-1) <= 1  # not interpolated between two colors
    assert pure.mean() > 0.05
    assert np.array_equal(classes[pure], np.where(nearest[pure] < 4, nearest[pure], -1))


@pytest.mark.parametrize("scale", [0.5, 1.37, 2.0])
def test_a_sample_is_a_crop_of_what_pillow_resizes(scale):
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    classes = np.random.default_rng(1).integers(0, 4, (37, 53)).astype(np.int32)
    sample = LargeScaleJitter(40, scale, scale, flip=False)(image, target_of(classes), np.random.default_rng(3))
    size = (round(40 * scale), round(37 * 40 * scale / 53))
    whole = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)).astype(int)
    labels = np.asarray(Image.fromarray(classes).resize(size, Image.Resampling.NEAREST))
    rng = np.random.default_rng(3)
    rng.uniform()
    fraction = rng.random()
    top, left = (round(max(side - 40, 0) * fraction) for side in labels.shape)
    crop = (slice(top, top + 40), slice(left, left + 40))
    height, width = labels[crop].shape
    assert np.abs(sample.pixels[:height, :width] - whole[crop]).max() <= 1
    assert np.array_equal(class_map(sample)[:height, :width], labels[crop])
    assert (sample.pixels[height:] == PADDING_VALUE).all()
    assert (sample.pixels[:, width:] == PADDING_VALUE).all()
    assert not sample.masks[:, height:].any()


def test_the_same_generator_gives_the_same_sample_and_another_one_another():
    image, target = blocks(50, 60)
    for augment in (LargeScaleJitter(40, color_jitter=True), ResizeAndCrop((30, 50), 90, (24, 24))):
        one, same, other = (augment(image, target, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(one.pixels, same.pixels)
        assert np.array_equal(one.masks, same.masks)
        assert not np.array_equal(one.pixels, other.pixels)


def test_half_of_the_images_are_mirrored():
    image, target = blocks(40, 40)
    keep = LargeScaleJitter(40, 1.0, 1.0)
    samples = [keep(image, target, np.random.default_rng(seed)).pixels for seed in range(60)]
    straight = sum(np.array_equal(pixels, image) for pixels in samples)
    mirrored = sum(np.array_equal(pixels, image[:, ::-1]) for pixels in samples)
    assert straight + mirrored == 60
    assert 18 <= mirrored <= 42


def test_scales_fill_their_range():
    image, target = np.full((40, 20, 3), 7, np.uint8), target_of(np.zeros((40, 20), int))
    jitter = LargeScaleJitter(100)
    rows = [(jitter(image, target, np.random.default_rng(s)).pixels[:, 0, 0] == 7).sum() for s in range(100)]
    assert 10 <= min(rows) < 25
    assert 40 < np.mean(np.array(rows) == 100) * 100 < 65  # scales from 1 to 2 fill the height


def test_crowds_and_masks_outside_of_the_crop_are_left_out():
    classes = np.zeros((20, 60), int)
    classes[:, 20:40], classes[0, 59] = 1, 2
    image = np.zeros((20, 60, 3), np.uint8)
    sample = LargeScaleJitter(30, 1.0, 1.0, flip=False)(image, target_of(classes, crowd=[1]), np.random.default_rng(0))
    assert sample.class_ids.tolist() == [0]
    augment = ResizeAndCrop((20,), 60, (20, 20), single_category_max_area=1, color_jitter=False)
    seen = [augment(image, target_of(classes), np.random.default_rng(seed)).class_ids.tolist() for seed in range(40)]
    assert [0] in seen
    assert [0, 1] in seen
    empty = target_of(np.full((20, 60), -1))
    assert augment(image, empty, np.random.default_rng(0)).masks.shape == (0, 20, 20)


def test_no_class_covers_most_of_a_crop_if_possible():
    classes = np.zeros((64, 256), int)
    classes[:, 128:] = 1  # most crops have one class only
    image = np.zeros((64, 256, 3), np.uint8)

    def mixed(augment):
        """The fraction of crops in which no class covers three quarters or more."""
        samples = [augment(image, target_of(classes), np.random.default_rng(seed)) for seed in range(60)]
        return np.mean([sample.masks.mean(axis=(1, 2)).max() < 0.75 for sample in samples])

    assert mixed(ResizeAndCrop((64,), 256, (64, 64), single_category_max_area=0.75, color_jitter=False)) > 0.7
    assert mixed(ResizeAndCrop((64,), 256, (64, 64), color_jitter=False)) < 0.4  # as the original's files have it


def test_unknown_pixels_may_cover_most_of_a_crop():
    classes = np.full((32, 64), -1)
    classes[::2, ::8], classes[1::2, ::8] = 0, 1
    augment = ResizeAndCrop((32,), 64, (32, 32), single_category_max_area=0.75, color_jitter=False)
    equal = []
    for seed in range(5):
        rng, other = np.random.default_rng(seed), np.random.default_rng(seed)
        augment(np.zeros((32, 64, 3), np.uint8), target_of(classes), rng)
        other.random(), other.integers(1), other.integers(1), other.integers(33)  # flip, length, and one offset
        equal.append(rng.random() == other.random())
    assert all(equal)


def test_the_published_lengths():
    assert shortest_edges(512) == (256, 307, 358, 409, 460, 512, 563, 614, 665, 716, 768, 819, 870, 921, 972, 1024)
    assert ResizeAndCrop().shortest_edge == shortest_edges(512)


class TestColor:
    def test_gray_stays_gray_and_is_at_most_brightened_and_stretched(self):
        gray = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
        for seed in range(30):
            changed = ssd_color_jitter(gray, np.random.default_rng(seed)).astype(int)
            assert (np.ptp(changed, axis=-1) <= 1).all()
            assert (np.diff(changed[0, :, 0]) >= 0).all()

    def test_hues_change_by_at_most_a_tenth_in_both_directions(self):
        color = np.full((1, 1, 3), (200, 80, 60), np.uint8)
        before = colorsys.rgb_to_hsv(*color[0, 0] / 255)[0]
        changes = []
        for seed in range(300):
            red, green, blue = ssd_color_jitter(color, np.random.default_rng(seed))[0, 0] / 255
            changes.append((colorsys.rgb_to_hsv(red, green, blue)[0] - before + 0.5) % 1 - 0.5)
        assert max(map(abs, changes)) < 0.115
        assert min(changes) < -0.06
        assert max(changes) > 0.06

    def test_in_one_of_sixteen_images_nothing_changes(self):
        image = np.random.default_rng(0).integers(60, 160, (4, 4, 3), np.uint8)
        same = sum(np.array_equal(ssd_color_jitter(image, np.random.default_rng(seed)), image) for seed in range(320))
        assert 8 <= same <= 36


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (lambda: LargeScaleJitter(0), ("size",)),
        (lambda: LargeScaleJitter(32, 0.0, 1.0), ("min_scale",)),
        (lambda: LargeScaleJitter(32, 2.0, 1.0), ("min_scale", "max_scale")),
        (lambda: ResizeAndCrop((), 10), ("shortest_edge",)),
        (lambda: ResizeAndCrop((0, 5), 10), ("shortest_edge",)),
        (lambda: ResizeAndCrop((5,), 0), ("longest_edge",)),
        (lambda: ResizeAndCrop((5,), 10, (0, 3)), ("crop_size",)),
        (lambda: ResizeAndCrop((5,), 10, (3,)), ("crop_size",)),
    ],
)
def test_values_out_of_range_are_errors_that_name_the_field(make, fields):
    with pytest.raises(FieldError, match=fields[0]) as raised:
        make()
    assert raised.value.fields == fields
