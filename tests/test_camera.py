import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lucid_mlx.video.camera import Camera, Motion


def scene(seed, height=200, width=240):
    """Blobs of many sizes and colors."""
    rng = np.random.default_rng(seed)
    layers = [ndimage.gaussian_filter(rng.standard_normal((height, width, 3)), (s, s, 0)) * s for s in (2, 5, 12)]
    image = sum(layers)
    return (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)


def motions(*frames):
    camera = Camera()
    return [camera.update(frame) for frame in frames]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(-20, 20), st.integers(-30, 30))
def test_a_pan_is_no_cut_and_its_shift_is_found(seed, down, right):
    image = scene(seed, 128, 160)
    before = image[24:104, 32:128]
    after = image[24 - down : 104 - down, 32 - right : 128 - right]
    first, second = motions(before, after)
    assert first == Motion(True, (0.0, 0.0))
    assert not second.cut
    assert np.abs(np.array(second.shift) * (80, 96) - (down, right)).max() <= 1.5


def test_a_large_frame_is_compared_when_small():
    image = scene(0, 600, 900)
    _, moved = motions(image[:400, :640], image[100:500, 160:800])
    assert not moved.cut
    assert moved.shift == pytest.approx((-0.25, -0.25), abs=0.02)


@pytest.mark.parametrize("seed", range(1, 6))
def test_another_picture_is_a_cut(seed):
    assert motions(scene(0), scene(seed))[1] == Motion(True, (0.0, 0.0))


def test_another_size_is_a_cut():
    assert motions(scene(0), scene(0)[:-80])[1].cut


@pytest.mark.parametrize("light", [0.3, 0.6, 1.4])
def test_a_change_of_light_is_no_cut(light):
    image = scene(0)
    changed = (image * light).clip(0, 255).astype(np.uint8)
    assert [one.cut for one in motions(image, changed, image)] == [True, False, False]


def test_something_large_that_appears_is_no_cut():
    image = scene(0)
    covered = image.copy()
    covered[20:180, 30:150] = (200, 30, 30)  # 40 % of the picture
    assert [one.cut for one in motions(image, covered, covered, image)] == [True, False, False, False]


def test_frames_without_any_detail_are_one_shot():
    gray = np.full((90, 160, 3), 90, np.uint8)
    assert [one.cut for one in motions(gray, gray + 3, gray)] == [True, False, False]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (3, 2, 3)])
def test_tiny_frames(shape):
    frame = np.zeros(shape, np.uint8)
    assert [one.cut for one in motions(frame, frame)][1] in (True, False)
