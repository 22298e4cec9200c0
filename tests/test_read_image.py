import contextlib
import io
import threading

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.preprocessing import addresses, read_image
from lucid_mlx.utils import http

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def contents(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


class TestSources:
    def test_an_rgb_image_is_read_unchanged(self, tmp_path):
        path = saved(tmp_path, Image.fromarray(RGB))
        for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.fromarray(RGB)):
            assert np.array_equal(read_image(source), RGB)
        with path.open("rb") as file:
            assert np.array_equal(read_image(file), RGB)

    def test_a_tilde_is_the_home_folder(self, tmp_path, monkeypatch):
        saved(tmp_path, Image.fromarray(RGB))
        monkeypatch.setenv("HOME", str(tmp_path))
        assert np.array_equal(read_image("~/image.png"), RGB)

    @pytest.mark.parametrize("source", [None, 3, [RGB, RGB], {"path": "x.png"}])
    def test_other_types_are_reported(self, source):
        with pytest.raises(InputError, match="an image must be a path, a URL") as error:
            read_image(source)
        assert ("cv2.imread" in str(error.value)) == (source is None)

    def test_a_text_file_object_is_read_by_its_bytes_or_reported(self, tmp_path):
        saved(tmp_path, Image.fromarray(RGB))
        with (tmp_path / "image.png").open() as file:
            assert np.array_equal(read_image(file), RGB)
        with pytest.raises(InputError, match="mode 'rb'"):
            read_image(io.StringIO("hello"))

    def test_no_path_and_an_address_of_another_kind_are_reported(self):
        with pytest.raises(InputError, match="path of the image is empty"):
            read_image("")
        with pytest.raises(InputError, match="ftp is not read; expected https, http, file or data"):
            read_image("ftp://host/x.jpg")

    def test_missing_files_and_folders_are_reported(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            read_image(tmp_path / "nothing.png")
        with pytest.raises(InputError, match="is a folder"):
            read_image(tmp_path)

    @pytest.mark.parametrize("path", ["a" * 5000, "null\0byte", "~nobody-of-this-name/photo.jpg"])
    def test_impossible_paths_are_reported(self, path):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(path)


class TestArrays:
    @pytest.mark.parametrize("convert", [np.asarray, mx.array], ids=["numpy", "mlx"])
    def test_rgb_arrays_are_unchanged(self, convert):
        assert np.array_equal(read_image(convert(RGB)), RGB)

    @pytest.mark.parametrize("shape", [(6, 9), (6, 9, 1)])
    def test_gray_is_repeated(self, shape):
        assert np.array_equal(read_image(RGB[..., 0].reshape(shape)), np.repeat(RGB[..., :1], 3, axis=-1))

    def test_transparent_pixels_are_white(self):
        rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
        rgba[0, 0, 3] = 255
        pixels = read_image(rgba)
        assert np.array_equal(pixels[0, 0], RGB[0, 0])
        assert (pixels.reshape(-1, 3)[1:] == 255).all()

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_floats_range_from_0_to_1(self, dtype):
        gray = mx.array([[0.0, 0.5, 1.0]], getattr(mx, dtype))
        assert read_image(gray)[0, :, 0].tolist() == [0, 128, 255]

    def test_rounding_errors_outside_0_to_1_are_clipped(self):
        assert read_image(np.array([[-1e-4, 1.0001]]))[0, :, 0].tolist() == [0, 255]

    def test_sixteen_bits_and_bools_are_scaled(self):
        assert read_image(np.array([[0, 257, 32896, 65535]], np.uint16))[0, :, 0].tolist() == [0, 1, 128, 255]
        assert read_image(np.array([[False, True]]))[0, :, 0].tolist() == [0, 255]

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((3, 20, 30), np.uint8), "put the channels last"),
            (np.zeros((1, 20, 30, 3), np.uint8), r"got \(1, 20, 30, 3\); give the images of a batch as a list"),
            (np.zeros(5, np.uint8), r"got \(5,\)"),
            (np.zeros((), np.uint8), r"got \(\)"),
            (np.zeros((0, 5, 3), np.uint8), r"got \(0, 5, 3\)"),
            (np.zeros((4, 5, 2), np.uint8), r"got \(4, 5, 2\)"),
            (np.zeros((4, 5), np.int64), r"got int64; make pixels from 0 to 255 uint8 \(`.astype\('uint8'\)`"),
            (np.full((4, 5), 255.0), r"found 255 to 255; pixels from 0 to 255 must be uint8 \(`.astype\('uint8'\)`"),
            (np.full((4, 5), -0.1), "found -0.1"),
            (np.full((4, 5), np.nan), "found nan"),
            (np.full((4, 5), "x"), "got <U1"),
        ],
    )
    def test_arrays_that_are_no_images_are_reported(self, array, message):
        with pytest.raises(InputError, match=message):
            read_image(array)


class TestFormats:
    def test_exif_orientation_is_applied(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation: rotate by 90 degrees clockwise to show it
        path = saved(tmp_path, Image.fromarray(RGB), exif=exif)
        assert np.array_equal(read_image(path), np.rot90(RGB, -1))
        with Image.open(path) as image:
            assert np.array_equal(read_image(image), np.rot90(RGB, -1))

    def test_transparent_pixels_are_white(self, tmp_path):
        rgba = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
        rgba[0, 0, 3] = 255
        pixels = read_image(saved(tmp_path, Image.fromarray(rgba)))
        assert np.array_equal(pixels[0, 0], RGB[0, 0])
        assert (pixels[1:] == 255).all()

    @pytest.mark.parametrize("format", ["PNG", "GIF"])
    def test_a_transparent_color_of_a_palette_is_white(self, format):
        image = Image.new("P", (3, 1))
        image.putpalette([200, 0, 0, 0, 100, 0])
        image.putdata([0, 1, 0])
        assert read_image(contents(image, format))[0].tolist() == [[200, 0, 0], [0, 100, 0], [200, 0, 0]]
        pixels = read_image(contents(image, format, transparency=0))
        assert pixels[0].tolist() == [[255, 255, 255], [0, 100, 0], [255, 255, 255]]

    @pytest.mark.parametrize("format", ["PNG", "TIFF"])
    def test_sixteen_bits_are_scaled_not_cut(self, format):
        gray = np.array([[0, 257, 32896, 65535]], np.uint16)
        pixels = read_image(contents(Image.fromarray(gray), format))
        assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]
        assert pixels.shape == (1, 4, 3)

    def test_a_dark_sixteen_bit_image_stays_dark(self):
        assert read_image(contents(Image.fromarray(np.full((2, 2), 200, np.uint16)))).max() == 1
        assert read_image(b"P5 2 1 65535\n" + np.array([0, 200], ">u2").tobytes()).max() == 1

    @pytest.mark.parametrize(
        ("values", "wanted"),
        [([0.0, 0.5, 1.00001], [0, 128, 255]), ([0, 128, 255], [0, 128, 255]), ([0, 32768, 65535], [0, 128, 255])],
    )
    def test_the_maximum_of_floats_in_a_file_determines_white(self, values, wanted):
        image = Image.fromarray(np.array([values], np.float32))
        assert read_image(contents(image, "TIFF"))[0, :, 0].tolist() == wanted
        assert read_image(b"Pf 3 1 -1\n" + np.array(values, "<f4").tobytes())[0, :, 0].tolist() == wanted

    def test_thirty_two_bits_are_scaled_not_cut(self):
        image = Image.fromarray(np.array([[0, 50_000, 100_000]], np.int32))
        assert read_image(contents(image, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]

    @pytest.mark.parametrize(
        ("mode", "format"),
        [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("LAB", "TIFF"), ("L", "PNG"), ("P", "GIF"),
         ("1", "PNG"), ("LA", "PNG")],
    )  # fmt: skip
    def test_other_modes_become_rgb(self, mode, format):
        smooth = np.repeat(np.linspace(20, 230, 16).astype(np.uint8)[None, :, None], 3, axis=2).repeat(8, axis=0)
        image = Image.fromarray(smooth).convert(mode) if mode != "LAB" else Image.new("LAB", (16, 8), (128, 128, 128))
        pixels = read_image(contents(image, format))
        assert pixels.shape == (8, 16, 3)
        assert pixels.dtype == np.uint8
        if mode in ("CMYK", "YCbCr", "L", "LA"):
            assert np.abs(pixels.astype(int) - smooth).max() <= 4

    @pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP", "PNG"])
    def test_the_first_frame_of_an_animation_is_read(self, format):
        frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (10, 200)]
        options = {"lossless": True} if format == "WEBP" else {}
        animation = contents(frames[0], format, save_all=True, append_images=frames[1:], **options)
        with Image.open(io.BytesIO(animation)) as image:
            assert image.n_frames == 2
        assert np.abs(read_image(animation).astype(int) - 10).max() <= 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"hello, I am a text file", "is not an image"),
            (PHOTO.read_bytes()[:20000], "damaged or incomplete"),
            (contents(Image.fromarray(RGB).resize((90, 60)))[:-200], "damaged or incomplete"),
            (b"\x89PNG\r\n\x1a\n" + bytes(40), "image"),
            (b"%PDF-1.7\n", "is a PDF; save"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is PostScript"),
            (b"\xef\xbb\xbf  <svg xmlns='http://www.w3.org/2000/svg'/>", "is an SVG"),
            (b'<?xml version="1.0"?><svg/>', "perhaps an SVG"),
            (b"<!DOCTYPE HTML>\n<html>", "is a web page"),
            (np.full((2, 2), np.inf, np.float32), "NaN or infinite"),
        ],
    )
    def test_incomplete_and_other_files_are_reported(self, tmp_path, content, message):
        path = tmp_path / "photo.jpg"
        path.write_bytes(content if isinstance(content, bytes) else contents(Image.fromarray(content), "TIFF"))
        with pytest.raises(InputError, match=message) as error:
            read_image(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)

    def test_an_image_without_pixels_is_reported(self):
        with pytest.raises(InputError, match="no pixels"):
            read_image(Image.new("RGB", (0, 5)))

    def test_the_limits_of_pillow_do_not_count(self, monkeypatch):
        for pixels in (40, 20):  # of 54: Pillow warns, which would fail this test, or refuses
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
            assert np.array_equal(read_image(contents(Image.fromarray(RGB))), RGB)

    @settings(max_examples=50, deadline=None)
    @given(cut=st.integers(1, 60000), at=st.integers(0, 60000), byte=st.integers(0, 255))
    def test_damaged_files_give_pixels_or_one_error(self, cut, at, byte):
        content = bytearray(PHOTO.read_bytes())
        content[at] = byte
        with contextlib.suppress(InputError):
            assert read_image(bytes(content[:cut])).ndim == 3


class TestAddresses:
    @pytest.fixture
    def web(self, hub):
        hub.files["web"] = {"photo.png": contents(Image.fromarray(RGB)), "page": b"<!doctype html>"}
        return hub

    def test_an_image_is_downloaded(self, web):
        assert np.array_equal(read_image(f"{web.url}/web/photo.png"), RGB)

    def test_a_page_is_reported(self, web):
        with pytest.raises(InputError, match=f"{web.url}/web/page is a web page"):
            read_image(f"{web.url}/web/page")

    def test_a_missing_file_is_reported(self, web):
        with pytest.raises(InputError, match=r"none.png cannot be downloaded \(HTTP 404\): there is no such file"):
            read_image(f"{web.url}/web/none.png")

    def test_an_interrupted_download_is_reported(self, web):
        web.cut = 30
        with pytest.raises(InputError, match="the download was interrupted"):
            read_image(f"{web.url}/web/photo.png")

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:9/x.png", "http://", "https://exa mple/x.png", "http://.x/y.png"]
    )
    def test_an_address_without_a_server_is_reported(self, url):
        with pytest.raises(InputError, match="cannot be reached"):
            read_image(url)

    def test_a_huge_download_is_refused(self, web, monkeypatch):
        monkeypatch.setattr(addresses, "MAX_DOWNLOAD_BYTES", 50)
        with pytest.raises(InputError, match="is larger than"):
            read_image(f"{web.url}/web/photo.png")

    def test_a_silent_server_times_out(self, web, monkeypatch):
        monkeypatch.setattr(http, "SILENCE", 0.1)
        web.before = lambda: threading.Event().wait(0.4)  # the fixture replaces time.sleep
        with pytest.raises(InputError, match="cannot be reached, or the download was interrupted"):
            read_image(f"{web.url}/web/photo.png")
