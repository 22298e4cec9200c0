"""Cut-outs, mattes and backgrounds."""

import numpy as np
import pytest
from PIL import Image
from results import of_masks, segmented

from lucid_mlx import InputError
from lucid_mlx.datasets import TASKS

PHOTO = np.random.default_rng(0).integers(1, 256, (20, 30, 3), np.uint8)
DISK = np.hypot(*(np.indices((20, 30)) - [[[9]], [[12]]])) < 6


@pytest.fixture
def disk():
    return of_masks(DISK, image=PHOTO).only("c0")


class TestOnly:
    @pytest.mark.parametrize("task", TASKS)
    def test_segments_may_be_chosen_one_by_one(self, task):
        result = segmented(task, 3)
        first, *_, last = result.segments
        assert result.only(first).segments == (first,)
        assert result.only([last, first]).segments == (first, last)
        assert np.array_equal(result.only(last).masks[0], result.mask(last))
        assert set(result.only([first, last.label]).segments) >= {first, last}

    def test_one_of_another_photo_is_refused(self):
        with pytest.raises(InputError, match="the result has no such segment"):
            segmented("panoptic", 3).only(segmented("instance", 4).segments[0])

    def test_numbers_are_neither(self):
        with pytest.raises(InputError, match="segments or names of classes are expected, got 3"):
            segmented("panoptic").only(3)


class TestCutout:
    @pytest.mark.parametrize("task", TASKS)
    def test_it_is_opaque_where_a_segment_is(self, task):
        result = segmented(task, 3)
        some = result.only(result.segments[:2])
        picture = np.array(some.cutout())
        mask = some.masks.any(axis=0)
        assert np.array_equal(picture[..., 3], np.uint8(255) * mask)
        assert np.array_equal(picture[mask, :3], result.image[mask])
        assert not picture[~mask].any()  # what is transparent is not in the file
        assert np.array_equal(np.array(some.matte()), picture[..., 3])

    def test_it_is_cropped_to_the_box(self, disk):
        left, top, right, bottom = disk.segments[0].box
        assert np.array_equal(disk.cutout(crop=True), np.array(disk.cutout())[top:bottom, left:right])
        soft = disk.cutout(feather=1, crop=True)
        assert soft.width > right - left
        assert np.array(soft.getchannel("A")).any(axis=0).all()

    def test_a_soft_edge_is_half_opaque_at_the_outline(self, disk):
        alpha = np.array(disk.matte(feather=1.5)).astype(float)
        assert alpha[9, 12] > 250
        assert alpha[0, 29] == 0
        edge = DISK & ~np.roll(DISK, 1, axis=1)
        assert 120 < alpha[edge].mean() < 200

    def test_without_a_segment_all_is_transparent_and_there_is_nothing_to_crop_to(self):
        nothing = segmented("panoptic", threshold=1.0)
        assert not np.array(nothing.cutout()).any()
        with pytest.raises(InputError, match="there is no segment to crop to"):
            nothing.cutout(crop=True)

    @pytest.mark.parametrize("feather", [-1, "1", 10**6])
    def test_softness_is_a_number_of_pixels(self, disk, feather):
        with pytest.raises(InputError, match="feather must be"):
            disk.cutout(feather=feather)


class TestBlur:
    def test_the_segment_stays_and_the_rest_is_smooth(self, disk):
        picture = np.array(disk.blur_background(3))
        assert np.array_equal(picture[DISK], PHOTO[DISK])
        assert picture[~DISK].std() < 0.5 * PHOTO[~DISK].std()

    def test_the_segment_does_not_glow(self):
        white = np.where(DISK[..., None], 255, np.full((20, 30, 3), 40)).astype(np.uint8)
        picture = np.array(of_masks(DISK, image=white).only("c0").blur_background(4)).astype(int)
        assert np.abs(picture[~DISK] - 40).max() <= 2

    def test_without_a_segment_all_is_blurred(self):
        nothing = segmented("panoptic", threshold=1.0)
        assert np.array(nothing.blur_background()).std() < nothing.image.std()

    def test_the_default_grows_with_the_photo(self, disk):
        assert np.array_equal(disk.blur_background(), disk.blur_background(0.02 * 30))

    def test_the_segment_that_is_everything_stays(self):
        everything = of_masks(np.ones((20, 30)), image=PHOTO)
        assert np.array_equal(everything.blur_background(5, feather=2), PHOTO)


class TestReplace:
    @pytest.mark.parametrize("color", ["red", "#ff0000", (255, 0, 0)])
    def test_a_color(self, disk, color):
        picture = np.array(disk.replace_background(color))
        assert np.array_equal(picture[DISK], PHOTO[DISK])
        assert (picture[~DISK] == [255, 0, 0]).all()

    def test_a_picture_fills_the_photo(self, disk):
        behind = Image.new("RGB", (5, 70), "blue")
        for background in (behind, np.array(behind), behind.convert("RGBA")):
            picture = np.array(disk.replace_background(background))
            assert picture.shape == (20, 30, 3)
            assert (picture[~DISK] == [0, 0, 255]).all()

    @pytest.mark.parametrize("background", ["nocolor", 3, None, (1, 2), ("a", 2, 3), np.zeros((2, 2, 7))])
    def test_what_is_neither_is_told(self, disk, background):
        with pytest.raises(InputError, match="the background must be a color such as white"):
            disk.replace_background(background)
