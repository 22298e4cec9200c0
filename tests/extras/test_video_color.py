"""HDR videos are read as the SDR that a display shows; expected values are those of FFmpeg's zscale."""

from pathlib import Path

import av
import numpy as np
import pytest

from lucid_mlx.video.color import HLG, PQ, light_to_sdr, signal_to_light
from lucid_mlx.video.reader import VideoReader

DATA = Path(__file__).parents[1] / "data"
TOLERANCE = 6  # levels of 255

# Y, Cb and Cr of 10 bits, and the RGB that `zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=709:t=709:m=709:r=full`
# makes of it (FFmpeg 5.1 with zimg 3.0.4).
PATCHES = {
    HLG: [
        ((297, 427, 675), (188, 0, 0)),
        ((532, 353, 423), (0, 193, 0)),
        ((171, 746, 523), (0, 0, 192)),
        ((392, 630, 468), (42, 110, 193)),
        ((427, 512, 512), (119, 119, 119)),
        ((713, 512, 512), (249, 249, 249)),
        ((129, 512, 512), (21, 21, 21)),
        ((577, 346, 549), (215, 172, 0)),
        ((160, 489, 494), (0, 37, 13)),
        ((721, 512, 512), (255, 255, 255)),
    ],
    PQ: [
        ((352, 444, 603), (204, 0, 0)),
        ((482, 429, 475), (0, 203, 9)),
        ((246, 657, 537), (8, 4, 202)),
        ((421, 564, 490), (71, 127, 203)),
        ((439, 512, 512), (135, 135, 135)),
        ((569, 512, 512), (251, 251, 251)),
        ((212, 512, 512), (32, 32, 32)),
        ((502, 431, 529), (221, 185, 52)),
        ((250, 481, 490), (17, 51, 23)),
        ((573, 512, 512), (255, 255, 255)),
    ],
}
transfers = pytest.mark.parametrize("transfer", [HLG, PQ], ids=["hlg", "pq"])


def patches(path, codes, transfer, codec="ffv1", pixel_format="yuv420p10le", full=False):
    """Write a film of one frame: patches of 16x64 pixels beside each other, of codes (N, 3) of 10 bits."""
    codes = np.asarray(codes)
    width = 16 * len(codes)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, 64, pixel_format
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = 9, 9, transfer  # BT.2020
        context.color_range = 2 if full else 1
        frame = av.VideoFrame(width, 64, pixel_format)
        for plane, values in zip(frame.planes, codes.T, strict=True):
            side = 16 * plane.width // width
            lines = np.zeros((plane.height, plane.line_size // 2), "<u2")
            lines[:, : plane.width] = np.repeat(values, side)
            plane.update(lines.tobytes())
        frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 9, 9, transfer, 2 if full else 1
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path):
    """Return the colors in the middles of the patches, (N, 3) int."""
    with VideoReader(path) as reader:
        (image,) = reader.frames()
    return image[32, 8::16].astype(int)


def zscale(signals, transfer):
    """Return what zscale makes of signals (N, 3), in the words of BT.2100, BT.2087 and BT.1886, in float64."""
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
        root = np.power(signals, 1 / m2)
        nits = 10000 * np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1)
    else:
        a, b, c = 0.17883277, 1 - 4 * 0.17883277, 0.5 - 0.17883277 * np.log(4 * 0.17883277)
        nits = 1000 * np.where(signals <= 0.5, signals**2 / 3, (np.exp((signals - c) / a) + b) / 12) ** 1.2
    to_bt2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    linear = np.linalg.solve(to_bt2020, nits.T / 203).T
    return 255 * np.clip(linear, 0, 1) ** (1 / 2.4)


def decoded(codes, full=False):
    """Return the R'G'B' of Y'CbCr codes of 10 bits, (N, 3): BT.2100, table 6 and 9."""
    low, luma, chroma = (0, 1023, 1023) if full else (64, 876, 896)
    y, cb, cr = (codes[:, 0] - low) / luma, (codes[:, 1] - 512) / chroma, (codes[:, 2] - 512) / chroma
    red, blue = y + 1.4746 * cr, y + 1.8814 * cb
    return np.stack([red, (y - 0.2627 * red - 0.0593 * blue) / 0.6780, blue], 1)


def coded(signals, full=False):
    """Return Y'CbCr codes of 10 bits of R'G'B', (N, 3) int."""
    low, luma, chroma = (0, 1023, 1023) if full else (64, 876, 896)
    y = signals @ [0.2627, 0.6780, 0.0593]
    cb, cr = (signals[:, 2] - y) / 1.8814, (signals[:, 0] - y) / 1.4746
    return np.round(np.stack([low + luma * y, 512 + chroma * cb, 512 + chroma * cr], 1)).astype(int)


@transfers
def test_hdr_below_diffuse_white_is_what_zscale_makes_of_it(tmp_path, transfer):
    codes, expected = (np.array(column) for column in zip(*PATCHES[transfer], strict=True))
    seen = read(patches(tmp_path / "in.mkv", codes, transfer))
    np.testing.assert_allclose(seen, expected, atol=TOLERANCE)
    # The reference in formulas, which the next test uses, is zscale too.
    np.testing.assert_allclose(zscale(np.maximum(decoded(codes), 0), transfer), expected, atol=2)


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@transfers
def test_any_color_below_diffuse_white_is_what_zscale_makes_of_it(tmp_path, transfer, full):
    signals = np.random.default_rng(0).random((300, 3)) * (0.75 if transfer == HLG else 0.58)
    codes = coded(signals, full)
    seen = read(patches(tmp_path / "in.mkv", codes, transfer, full=full))
    np.testing.assert_allclose(seen, zscale(np.clip(decoded(codes, full), 0, 1), transfer), atol=TOLERANCE)


@pytest.mark.parametrize("name", ["hevc.mov", "h264.mp4"])
def test_hdr_is_recognized_in_the_formats_of_phones(tmp_path, name):
    codes, expected = (np.array(column) for column in zip(*PATCHES[HLG][3:6], strict=True))
    # FFmpeg 8 writes HEVC of x265 into a .mov only now and then ("Not yet implemented"), so that one is at hand.
    path = DATA / "hdr_hevc.mov"
    if name == "h264.mp4":
        path = patches(tmp_path / name, np.repeat(codes, 8, axis=0), HLG, "libx264")
    np.testing.assert_allclose(read(path)[4::8], expected, atol=TOLERANCE + 3)  # the encoder's own losses


@transfers
def test_highlights_are_rolled_off_and_never_turn_darker(tmp_path, transfer):
    ramp = np.stack([np.arange(64, 941, 4), *[np.full(220, 512)] * 2], 1)
    seen = read(patches(tmp_path / "in.mkv", ramp, transfer))
    assert (seen == seen[:, :1]).all()  # gray stays gray
    levels = seen[:, 0]
    assert (np.diff(levels) >= 0).all()
    assert levels[0] == 0
    assert levels[-1] == 255
    signals = (ramp[:, 0] - 64) / 876
    white = np.argmin(np.abs(signal_to_light(signals, transfer) - 203))
    assert 249 <= levels[white] <= 251
    assert len(set(levels[white:])) > 3  # something is left to tell highlights apart


def test_the_roll_off_rises_and_begins_smoothly():
    light = np.linspace(0, 50, 100_001)
    signal = light_to_sdr(light)
    assert (np.diff(signal) > 0).all()
    assert signal[-1] < 1
    below = light <= 0.9
    np.testing.assert_allclose(signal[below], light[below] ** (1 / 2.4))


def test_ten_bits_are_not_read_through_eight(tmp_path):
    """Neighboring codes of 10 bits in the dark, where eight bits of HLG would be the same for four of them."""
    codes = np.stack([np.arange(80, 112), *[np.full(32, 512)] * 2], 1)
    seen = read(patches(tmp_path / "in.mkv", codes, HLG))[:, 0]
    exact = zscale(decoded(codes), HLG)[:, 0]
    np.testing.assert_allclose(seen, exact, atol=1)
    assert (np.diff(seen) >= 0).all()
    assert len(set(seen)) == len(set(np.round(exact)))


def test_sdr_of_ten_bits_keeps_its_colors(tmp_path):
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p10le"
        pixels = np.full((48, 64, 3), (200, 60, 20), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv444p10le")))
        container.mux(stream.encode())
    with VideoReader(path) as reader:
        (image,) = reader.frames()
    np.testing.assert_allclose(image, pixels, atol=2)


def test_what_is_transparent_lies_on_white_as_in_photos(tmp_path):
    path = tmp_path / "in.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgba"
        pixels = np.full((48, 64, 4), (200, 60, 20, 255), np.uint8)
        pixels[:, 32:, 3] = 0
        pixels[24:, :32, 3] = 128
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode())
    with VideoReader(path) as reader:
        (image,) = reader.frames()
    assert image[4, 4].tolist() == [200, 60, 20]
    assert image[4, 60].tolist() == [255, 255, 255]
    np.testing.assert_allclose(image[40, 4], np.array([200, 60, 20]) * 128 / 255 + 127, atol=1)
