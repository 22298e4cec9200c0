"""Files whose pixels are whole, whatever else is damaged or large; and files of which a part is missing."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from helpers import PHOTO
from PIL import Image, ImageFile, PngImagePlugin

from lucid_mlx import InputError
from lucid_mlx.data.coco import open_label_image
from lucid_mlx.preprocessing import read_image

RGB = np.asarray(Image.open(PHOTO).resize((120, 96)))


def encoded(format="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, format, **options)
    return file.getvalue()


def chunk(name, data, crc=None):
    crc = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def with_chunks(*chunks, after_pixels=False):
    """A PNG with more chunks after its header, or before its end."""
    png = encoded()
    at = len(png) - 12 if after_pixels else 33
    return png[:at] + b"".join(chunks) + png[at:]


LONG = b"x" * 3_000_000
LONG_CHUNKS = {
    "zTXt": chunk(b"zTXt", b"prompt\0\0" + zlib.compress(LONG)),
    "iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0name\0" + zlib.compress(LONG)),
    "iTXt as it is": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LONG),
    "tEXt": chunk(b"tEXt", b"workflow\0" + LONG),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(20 << 20))),
    "many": b"".join(chunk(b"zTXt", b"a\0\0" + zlib.compress(LONG[:1_000_000])) for _ in range(40)),
    "larger than any": chunk(b"tEXt", b"a\0" + bytes(17 << 20)),
    "another's": chunk(b"prIV", bytes(17 << 20)),
    "damaged zTXt": chunk(b"zTXt", b"a\0\0no zlib stream"),
}
BAD_CHECKSUMS = {
    name.decode(): chunk(name, data, crc=7)
    for name, data in ((b"tEXt", b"a\0b"), (b"pHYs", bytes(9)), (b"eXIf", b"MM"), (b"gAMA", bytes(4)), (b"tIME", b"1"))
}


@pytest.mark.parametrize("after_pixels", [False, True])
@pytest.mark.parametrize("extra", [*LONG_CHUNKS.values(), *BAD_CHECKSUMS.values()], ids=[*LONG_CHUNKS, *BAD_CHECKSUMS])
def test_a_png_is_read_whatever_is_beside_its_pixels(extra, after_pixels, tmp_path):
    content = with_chunks(extra, after_pixels=after_pixels)
    limits = (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, ImageFile.LOAD_TRUNCATED_IMAGES)
    assert np.array_equal(read_image(content), RGB)
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert np.array_equal(read_image(path), RGB)
    assert np.array_equal(np.asarray(open_label_image(path)), RGB)
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_texts_that_unpack_to_gigabytes_cost_nothing():
    packer = zlib.compressobj()
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()
    content = with_chunks(*[chunk(b"zTXt", b"a\0\0" + bomb)] * 200, *[chunk(b"iCCP", b"a\0\0" + bomb)] * 100)
    tracemalloc.start()
    start = time.thread_time()
    assert np.array_equal(read_image(content), RGB)
    assert time.thread_time() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 80e6
    tracemalloc.stop()


def test_the_orientation_of_a_png_stays_beside_a_long_text():
    exif = Image.Exif()
    exif[0x0112] = 6
    png = encoded(exif=exif)
    assert np.array_equal(read_image(png[:33] + LONG_CHUNKS["zTXt"] + png[33:]), np.rot90(RGB, -1))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_damaged_exif_data_are_ignored_with_a_warning(format):
    content = encoded(format, exif=b"Exif\0\0garbage", **({"lossless": True} if format == "WEBP" else {}))
    with pytest.warns(UserWarning, match="the image has damaged EXIF data, which are ignored"):
        assert np.array_equal(read_image(content), RGB)


@pytest.mark.parametrize("damage", [lambda x: x[:-12], lambda x: x[:-4], lambda x: x[:-7], lambda x: x + bytes(999)])
def test_the_end_of_a_png_does_not_matter(damage):
    assert np.array_equal(read_image(damage(encoded())), RGB)
    assert np.array_equal(read_image(damage(with_chunks(LONG_CHUNKS["zTXt"]))), RGB)


def test_a_png_of_which_pixels_are_missing_or_damaged_is_refused():
    png = encoded()
    damaged = png[:200] + bytes([png[200] ^ 1]) + png[201:]
    for content in (png[: len(png) // 2], with_chunks(LONG_CHUNKS["zTXt"])[:-500], damaged):
        with pytest.raises(InputError, match="damaged or incomplete"):
            read_image(content)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_last_bytes_is_whole(missing, subsampling):
    jpeg = encoded("JPEG", subsampling=subsampling)
    assert np.array_equal(read_image(jpeg[:-missing]), read_image(jpeg))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_gray_jpegs_and_those_of_inks_need_no_end_either(mode):
    file = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(file, "JPEG")
    assert np.array_equal(read_image(file.getvalue()[:-2]), read_image(file.getvalue()))


def test_a_jpeg_of_which_a_little_is_missing_is_read_with_a_warning():
    jpeg = encoded("JPEG", quality=95)
    with pytest.warns(UserWarning, match="the image is incomplete: the file ends early"):
        pixels = read_image(jpeg[: -len(jpeg) // 20])
    assert np.array_equal(pixels[:64], read_image(jpeg)[:64])
    progressive = encoded("JPEG", progressive=True)
    with pytest.warns(UserWarning, match="ends early"):
        pixels = read_image(progressive[: -len(progressive) // 4])
    assert np.abs(pixels.astype(int) - RGB).mean() < 10


def test_a_jpeg_of_which_much_is_missing_is_refused_with_the_part():
    jpeg = encoded("JPEG", quality=95)
    with pytest.raises(InputError, match="damaged or incomplete: the file ends early, .*% of the picture is missing"):
        read_image(jpeg[: len(jpeg) // 2])
    with pytest.raises(InputError, match="damaged or incomplete"):
        read_image(jpeg[:300])


def test_what_a_phone_appends_to_a_jpeg_does_not_matter():
    jpeg = encoded("JPEG")
    motion = b"\0\0\0\x18ftypmp42" + bytes(5000)
    assert np.array_equal(read_image(jpeg + motion), read_image(jpeg))
    two = io.BytesIO()  # as cameras write a gain map or a second view
    Image.fromarray(RGB).save(two, "MPO", save_all=True, append_images=[Image.new("RGB", (30, 20))])
    assert np.array_equal(read_image(two.getvalue()), read_image(jpeg))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_is_what_its_bytes_say_whatever_it_is_called(format, tmp_path):
    path = tmp_path / "IMG_1.jpg"
    path.write_bytes(encoded(format))
    assert np.array_equal(read_image(path), read_image(path.read_bytes()))


def raw_photo(tmp_path):
    tags = Image.Exif()
    tags[50706] = b"\1\4\0\0"
    Image.fromarray(RGB).save(tmp_path / "a.tif", exif=tags)
    return (tmp_path / "a.tif").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (raw_photo, "is a RAW photo, of which only a preview"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(60), "is a RAW photo; export it as JPEG"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(60), "is a RAW photo; export it as JPEG"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(60), "is a RAW photo; export it as JPEG"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(60), "is a video; `lucid-mlx video` segments it"),
        (b"\xff\x0a" + bytes(60), "is a JPEG XL; save it as JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ],
    ids=["dng", "cr2", "cr3", "raf", "mov", "jxl", "lfs"],
)
def test_what_only_looks_like_a_photo_is_told(content, message, tmp_path):
    with pytest.raises(InputError, match=message):
        read_image(content(tmp_path) if callable(content) else content)
