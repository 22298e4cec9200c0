"""Videos are made here, segmented, and read back with PyAV."""

import os
import time
import warnings

import av
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import PHOTO, SCENES, small_model
from video_files import CONSTANT_RATE, GREEN, Still, copy, frames, make, packets

from lucid_mlx import InputError
from lucid_mlx.cli.main import main
from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment
from lucid_mlx.video import VideoSegmenter, segment_video
from lucid_mlx.video.color import ColorConverter
from lucid_mlx.video.reader import VideoReader
from lucid_mlx.video.writer import VideoWriter
from lucid_mlx.visualization import palette
from lucid_mlx.visualization.colors import shade

VARIABLE_RATE = [0, 40, 80, 200, 210, 250, 400, 440, 480, 600, 640, 1000]


@pytest.fixture(scope="module")
def segmenter():
    return VideoSegmenter(small_model(), "semantic", size="64")


class Fake(Still):
    """Finds the bright square and, on even frames, a small second segment of the same class that is listed first."""

    def stream(self, video, **options):
        for number, image in enumerate(video):
            area = image.min(axis=2) > 200
            ids = np.where(area, 7, 0).astype(np.int32)
            segments = [Segment(7, 0, "square", 0.9, 256, (0, 0, 1, 1), track_id=1)]
            if number % 2 == 0:
                ids[-6:, :6] = 1
                segments.insert(0, Segment(1, 0, "square", 0.9, 36, (0, 0, 1, 1), track_id=2))
            yield Segmentation("panoptic", image, ids, tuple(segments), self.segmenter.labels)


@pytest.mark.parametrize("times", [CONSTANT_RATE, VARIABLE_RATE], ids=["constant", "variable"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_frames_keep_their_timestamps_and_audio_its_bytes(tmp_path, segmenter, times, suffix):
    source = make(tmp_path / "in.mp4", times, audio="aac")
    assert segment_video(segmenter, source, tmp_path / f"out.{suffix}", batch_size=5) == 12
    written = frames(tmp_path / f"out.{suffix}")
    before, after = packets(source), packets(tmp_path / f"out.{suffix}")
    # AAC starts with a packet before time 0. In mkv, which has no negative times, video and audio are shifted together.
    shift = 64 if suffix == "mkv" else 0
    assert [round(time * 1000) - shift for time, _ in written] == times
    assert all(frame.shape == (384, 512, 3) for _, frame in written)  # 64x48 is enlarged
    assert len(before) > 5
    assert [data for _, data in before] == [data for _, data in after]
    assert [round(time * 1000) for time, _ in before] == [round(time * 1000) - shift for time, _ in after]


def test_a_video_with_variable_frame_rate_keeps_its_duration(tmp_path, segmenter):
    segment_video(segmenter, make(tmp_path / "in.mp4", VARIABLE_RATE, last=500), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration == 1_500_000


def test_a_rotated_video_is_segmented_upright(tmp_path, segmenter):
    source = make(tmp_path / "in.mp4", rotation=-90)  # clockwise: what was on the left is above
    assert segment_video(segmenter, source, tmp_path / "out.mp4", opacity=0.0) == 12
    _, first = frames(tmp_path / "out.mp4")[0]
    assert first.shape == (512, 384, 3)
    bright = np.argwhere(first.min(axis=2) > 200)
    assert bright[:, 0].max() < 150  # the square starts at the left, ten lines below the upper edge
    assert bright[:, 1].min() > 150


@pytest.mark.parametrize("size", [(64, 48), (1280, 720)], ids=["small", "hd"])
def test_colors_do_not_change(tmp_path, size):
    """A green of unspecified color space is BT.601 in small videos and BT.709 in large ones, as in players."""
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height = size
        pixels = np.full((size[1], size[0], 3), GREEN, np.uint8)
        matrix = "ITU709" if size[1] >= 720 else "ITU601"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
        frame.colorspace = 2  # unspecified
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    segment_video(Still(), source, tmp_path / "out.mp4")
    _, image = frames(tmp_path / "out.mp4")[0]
    np.testing.assert_allclose(np.median(image, axis=(0, 1)), GREEN, atol=3)


def test_odd_sides_are_made_even(tmp_path, segmenter):
    source = make(tmp_path / "in.mkv", size=(501, 333), times=CONSTANT_RATE[:2])
    segment_video(segmenter, source, tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4")[0][1].shape == (334, 502, 3)


def test_a_segment_keeps_its_shade_while_others_come_and_go(tmp_path):
    fake = Fake()
    source = make(tmp_path / "in.mp4")
    segment_video(fake, source, tmp_path / "out.mp4", opacity=1.0)
    first, second = (shade(tuple(palette(fake.segmenter.labels)[0].tolist()), number) for number in (0, 1))
    for number, (_, image) in enumerate(frames(tmp_path / "out.mp4")):
        inside = image[8 * 22, 8 * (2 * number + 3)]  # the square is listed second in the first frame
        np.testing.assert_allclose(inside, second, atol=6, err_msg=str(number))
        assert np.abs(inside.astype(int) - first).max() > 30


def test_few_frames_are_in_memory_however_long_the_film(tmp_path, monkeypatch):
    read, waiting = [], []
    to_rgb, write = ColorConverter.to_rgb, VideoWriter.write
    monkeypatch.setattr(ColorConverter, "to_rgb", lambda *args: read.append(1) or to_rgb(*args))

    def slow_write(self, image):
        time.sleep(0.02)
        waiting.append(len(read) - len(waiting))
        write(self, image)

    monkeypatch.setattr(VideoWriter, "write", slow_write)
    source = make(tmp_path / "in.mp4", [40 * number for number in range(60)])
    assert segment_video(Fake(), source, tmp_path / "out.mp4", batch_size=4) == 60
    assert max(waiting) <= 16  # of the batch that is read, the one that is segmented, and a few


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["video", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_weights_it_says_what_to_pass(folder):
    make("in.mp4", CONSTANT_RATE[:2])
    assert "--weights is missing" in run("in.mp4", "out.mp4", code=2).stderr
    result = run("in.mp4", "out.mp4", "--weights", SCENES, "--task", "semantic", "--threshold", "0.5")
    assert "2 frames -> out.mp4" in result.stdout
    assert "--threshold changes nothing in semantic segmentation" in result.stderr


def test_an_output_is_overwritten_only_by_force_and_never_the_input(folder):
    make("in.mp4", CONSTANT_RATE[:2])
    (folder / "out.mp4").write_text("precious")
    assert "--force" in run("in.mp4", "out.mp4", "--weights", SCENES, code=2).stderr
    assert (folder / "out.mp4").read_text() == "precious"
    assert "in.mp4 is also an input" in run("in.mp4", "in.mp4", "--weights", SCENES, "--force", code=2).stderr
    run("in.mp4", "out.mp4", "--weights", SCENES, "--force")
    assert len(frames("out.mp4")) == 2


def test_a_pipe_is_no_video(folder):
    os.mkfifo("in.mp4")
    assert "in.mp4 is a pipe or a device, not a file; expected a video" in run("in.mp4", "out.mp4", code=2).stderr


@pytest.mark.parametrize("name", ["in.mp4", "in.mov"])
def test_a_video_of_frames_above_the_limit_is_refused(name, folder, monkeypatch):
    if name == "in.mov":  # a codec whose frames say their size themselves
        with av.open(name, "w") as container:
            stream = container.add_stream("png", rate=5)
            stream.width, stream.height, stream.pix_fmt = 640, 480, "rgb24"
            container.mux(stream.encode(av.VideoFrame(640, 480, "rgb24")))
            container.mux(stream.encode())
    else:
        make(name, CONSTANT_RATE[:2], size=(640, 480))
    monkeypatch.setenv("LUCID_MLX_MAX_IMAGE_MB", "1")
    assert "the limit is 1 MB: make it smaller, or set LUCID_MLX_MAX_IMAGE_MB" in run(name, "out.mp4", code=2).stderr
    monkeypatch.setenv("LUCID_MLX_MAX_IMAGE_MB", "2")
    with VideoReader(folder / name) as reader:
        assert next(reader.frames()).shape == (480, 640, 3)


@pytest.mark.parametrize("target", ["in.mp4", "./in.mp4", "link.mp4", "hard.mp4"])
def test_the_video_is_never_overwritten_in_python(target, folder):
    make("in.mp4", CONSTANT_RATE[:2])
    (folder / "link.mp4").symlink_to("in.mp4")
    (folder / "hard.mp4").hardlink_to("in.mp4")
    with pytest.raises(InputError, match="is also an input"):
        segment_video(Fake(), "in.mp4", target)


def truncate(path):
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) * 3 // 5])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.mp4", "text.mp4 is not a video"),
        ("notes.txt", "notes.txt has no video stream"),
        ("empty.mp4", "empty.mp4 is not a video"),
        ("missing.mp4", "missing.mp4 does not exist"),
        (".", "is a folder"),
        (PHOTO, "has no video stream"),
        ("audio.mp4", "audio.mp4 has no video stream"),
        ("list.m3u8", "list.m3u8 is not a video"),
        ("truncated.mp4", "truncated.mp4 is not a video, or damaged"),
        ("truncated_fast.mp4", "truncated_fast.mp4 is incomplete: it ends inside of a packet"),
        ("truncated.mkv", "truncated.mkv is incomplete: it ends after"),
    ],
)
def test_bad_videos_give_one_sentence_and_leave_no_file(folder, name, message):
    (folder / "text.mp4").write_text("just text\n" * 50)
    (folder / "notes.txt").write_text("just text\n" * 50)
    (folder / "empty.mp4").touch()
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    with av.open("audio.mp4", "w") as container:
        audio_stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(audio_stream.encode(frame))
        container.mux(audio_stream.encode())
    if "truncated" in str(name):
        times = [40 * number for number in range(60)]
        truncate(make(folder / name, times, audio="aac"))
        if name == "truncated_fast.mp4":
            faststart(folder / name, times)
    there = sorted(folder.iterdir())
    result = run(name, "out.mp4", "--size", "64", "--weights", SCENES, code=2)
    assert message in result.stderr
    assert sorted(folder.iterdir()) == there


def faststart(path, times):
    """Write a video whose index comes first, and truncate it."""
    make(path, times, audio="aac")
    copy(path, path.with_name("whole.mp4"), options={"movflags": "faststart"}).replace(path)
    truncate(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.avi"], "does not name a video format"),
        (["missing/out.mp4"], "the folder missing does not exist"),
        (["out.mov"], ".mov files cannot hold this audio (opus); choose a name with the suffix .mkv"),
        (["out.mp4", "--labels", "unicorn"], "there is no class 'unicorn'"),
        (["out.mp4", "--opacity", "2"], "'--opacity': 2.0 is not in the range"),
        (["out.mp4", "--threshold", "2"], "'--threshold': 2.0 is not in the range"),
    ],
)
def test_bad_options_give_one_sentence_and_leave_no_file(folder, arguments, message):
    make("in.mkv", CONSTANT_RATE[:5], audio="libopus")
    assert message in run("in.mkv", *arguments, "--size", "64", "--weights", SCENES, code=2).stderr
    assert [path.name for path in folder.iterdir()] == ["in.mkv"]


def test_an_interrupted_run_leaves_no_file(tmp_path, monkeypatch):
    fake = Fake()
    stream = fake.stream

    def interrupted(images, **options):
        for number, result in enumerate(stream(images)):
            if number == 5:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(fake, "stream", interrupted)
    source = make(tmp_path / "in.mp4", audio="aac")
    with pytest.raises(KeyboardInterrupt):
        segment_video(fake, source, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [source]


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    def full(self, image):
        raise OSError("No space left on device")

    monkeypatch.setattr(VideoWriter, "write", full)
    source = make(tmp_path / "in.mp4", CONSTANT_RATE[:2])
    with pytest.raises(InputError, match="cannot be written: No space left"):
        segment_video(Fake(), source, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [source]


def test_a_part_is_named_by_seconds_or_by_hours_minutes_and_seconds(folder):
    make("in.mp4")
    part = ["--weights", SCENES, "--size", "64", "--force"]
    result = run("in.mp4", "out.mp4", *part, "--start", "0:00:00.2", "--end", "0.4", "--every", "2")
    assert "3 frames -> out.mp4" in result.stdout
    assert [float(time) for time, _ in frames("out.mp4")] == [0, 0.08, 0.16]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = run("in.mp4", "out.mp4", *part, "--start", "0:00.4", "--frames", "10000")
    assert "warning: in.mp4 has 2 frames there, not the 10000 asked for" in result.stderr
    assert "2 frames -> out.mp4" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "later"], "'later' is not a time; expected seconds such as 90 or 2.5, or h:m:s such as 1:30"),
        (["--start", "1:2:3:4"], "is not a time"),
        (["--start", "2", "--end", "1"], "end must be after start, got 1 s and 2 s"),
        (["--start", "60"], "in.mp4 ends after 0.4 s, before the start"),
        (["--every", "0"], "0 is not in the range"),
        (["--frames", "0"], "0 is not in the range"),
    ],
)
def test_a_part_that_is_none_gives_one_sentence_and_leaves_no_file(folder, arguments, message):
    make("in.mp4")
    assert message in run("in.mp4", "out.mp4", "--weights", SCENES, "--size", "64", *arguments, code=2).stderr
    assert [path.name for path in folder.iterdir()] == ["in.mp4"]
