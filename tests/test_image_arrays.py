"""Pixels as other libraries hand them over."""

import io

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.preprocessing import read_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
ALPHA = np.full((6, 9, 1), 255, np.uint8)


class Tensor:
    """What is used of a torch tensor."""

    def __init__(self, array, dtype=None):
        self._array, self.dtype = array, dtype or f"torch.{array.dtype}"

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Tensor(self._array, "torch.float32")

    def numpy(self):
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._array


class Wrapper:
    """An array of some other library."""

    def __array__(self, dtype=None, copy=None):
        return RGB


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(RGB),
        Tensor(RGB.transpose(2, 0, 1)),
        Tensor(RGB.transpose(2, 0, 1).astype(np.float32) / 255),
        Tensor(RGB.transpose(2, 0, 1).astype(np.float32) / 255, "torch.bfloat16"),
        Wrapper(),
    ],
    ids=["hwc", "chw", "float", "bfloat16", "array protocol"],
)
def test_tensors_are_read_with_channels_last_or_first(tensor):
    assert np.array_equal(read_image(tensor), RGB)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((3, 5, 3), "channels first or last"), ((1, 3, 5, 6), "give the images of a batch as a list"), ((2, 5, 6), "got")],
)
def test_tensors_that_are_no_images_are_reported(shape, message):
    with pytest.raises(InputError, match=message):
        read_image(Tensor(np.zeros(shape, np.uint8)))


def test_a_tensor_without_pixels_is_reported_in_one_line():
    tensor = Tensor(RGB)
    tensor.cpu = lambda: (_ for _ in ()).throw(RuntimeError("no\ndata"))
    with pytest.raises(InputError, match=r"the pixels of a Tensor cannot be read: 'no.*ndata'"):
        read_image(tensor)


@pytest.mark.parametrize(
    "array",
    [RGB[..., ::-1], np.dstack([RGB[..., ::-1], ALPHA]), mx.array(RGB[..., ::-1].copy()), Tensor(RGB[..., ::-1])],
    ids=["bgr", "bgra", "mlx", "tensor"],
)
def test_bgr_arrays_are_read_as_rgb(array):
    assert np.array_equal(read_image(array, bgr=True), RGB)


def test_bgr_changes_neither_gray_nor_files():
    gray = np.repeat(RGB[..., :1], 3, axis=2)
    assert np.array_equal(read_image(RGB[..., 0], bgr=True), gray)
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    assert np.array_equal(read_image(file.getvalue(), bgr=True), RGB)


def test_arrays_of_any_layout_in_memory_are_read():
    read_only = RGB.copy()
    read_only.flags.writeable = False
    for array in (read_only, np.asfortranarray(RGB), RGB.astype(">u2") * 257, (RGB / 255).astype(">f4")):
        assert np.array_equal(read_image(array), RGB)
    assert np.array_equal(read_image(RGB[::2, ::-1]), RGB[::2, ::-1])


@pytest.mark.parametrize("scale", [1, 255.0])
def test_masked_pixels_are_white(scale):
    masked = np.ma.masked_array(RGB / scale if scale > 1 else RGB, RGB > 100)
    assert np.array_equal(read_image(masked), np.where(RGB > 100, 255, RGB))


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F"],
)
def test_pillow_images_of_every_mode_are_read(mode):
    image = Image.new("L", (4, 3), 255)
    if mode in ("1", "I", "F"):
        image = image.convert(mode)
    elif mode == "I;16":
        image = Image.fromarray(np.full((3, 4), 65535, np.uint16))
    elif mode == "La":
        image = image.convert("LA").convert("La")
    else:
        image = image.convert("RGB").convert("RGBA" if mode == "RGBa" else mode if mode != "PA" else "P").convert(mode)
    assert image.mode == mode
    assert (read_image(image) >= 250).all()


def test_a_buffer_that_was_just_written_is_read_from_its_start():
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "PNG")
    assert np.array_equal(read_image(file), RGB)
