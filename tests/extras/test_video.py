"""Videos, made here and read back with PyAV."""

from fractions import Fraction

import av
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import PHOTO, small_model

from lucid_mlx import InputError, Segmenter
from lucid_mlx import video_files as video_files_module
from lucid_mlx.cli.main import main
from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment
from lucid_mlx.video.segment_video import segment_video
from lucid_mlx.visualization import palette
from lucid_mlx.visualization.colors import shade

MILLISECONDS = Fraction(1, 1000)
EVEN = [40 * number for number in range(12)]
VARIED = [0, 40, 80, 200, 210, 250, 400, 440, 480, 600, 640, 1000]
GREEN = (30, 160, 60)


def make(path, times=EVEN, size=(64, 48), sound=None, turn=0, last=40):
    """Write a video of a bright square that moves right by two pixels a frame; its last frame stays `last` ms."""
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        stream.codec_context.time_base = MILLISECONDS
        if turn:
            stream.set_display_rotation(turn)
        voice = film.add_stream(sound, rate=16000, layout="mono") if sound else None
        for number, time in enumerate(times):
            pixels = np.full((size[1], size[0], 3), GREEN, np.uint8)
            pixels[10:26, 2 * number : 2 * number + 16] = 250
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, MILLISECONDS
            film.mux(stream.encode(frame))
        for packet in stream.encode():
            if packet.pts * packet.time_base == times[-1] * MILLISECONDS:
                packet.duration = int(last * MILLISECONDS / packet.time_base)
            film.mux(packet)
        if voice is not None:
            wave = 0.3 * np.sin(np.arange(16 * times[-1]) * 440 * 2 * np.pi / 16000)
            kind = voice.codec_context.format.name
            samples = wave.astype(np.float32) if kind == "fltp" else (wave * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format=kind, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            film.mux(voice.encode(frame))
            film.mux(voice.encode())
    return path


def frames(path):
    with av.open(str(path)) as film:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in film.decode(video=0)]


def packets(path):
    with av.open(str(path)) as film:
        found = [packet for packet in film.demux(audio=0) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in found]


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(small_model(), "semantic", size="64")


class Fake(Segmenter):
    """Finds the bright square and, on even frames, a small stranger of the same class that is named first."""

    def __init__(self):
        self.labels, self.task = {0: "square", 1: "ground"}, "panoptic"
        self.read = []

    def stream(self, images, **options):
        for number, image in enumerate(images):
            self.read.append(number)
            square = image.min(axis=2) > 200
            ids, segments = np.where(square, 7, 0).astype(np.int32), [Segment(7, 0, "square", 0.9, 256, (0, 0, 1, 1))]
            if number % 2 == 0:
                ids[-6:, :6] = 1
                segments.insert(0, Segment(1, 0, "square", 0.9, 36, (0, 0, 1, 1)))
            yield Segmentation("panoptic", image, ids, tuple(segments), self.labels)


@pytest.mark.parametrize("times", [EVEN, VARIED], ids=["even", "varied"])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_every_frame_keeps_its_time_and_the_sound_its_bytes(tmp_path, segmenter, times, ending):
    source = make(tmp_path / "in.mp4", times, sound="aac")
    assert segment_video(segmenter, source, tmp_path / f"out.{ending}", batch_size=5) == 12
    seen = frames(tmp_path / f"out.{ending}")
    before, after = packets(source), packets(tmp_path / f"out.{ending}")
    # AAC begins with a packet before time 0, which mkv has not: there picture and sound move together.
    shift = 64 if ending == "mkv" else 0
    assert [round(time * 1000) - shift for time, _ in seen] == times
    assert all(frame.shape == (384, 512, 3) for _, frame in seen)  # 64x48 is enlarged
    assert len(before) > 5
    assert [sound for _, sound in before] == [sound for _, sound in after]
    assert [round(time * 1000) for time, _ in before] == [round(time * 1000) - shift for time, _ in after]


def test_a_video_of_varied_rate_is_as_long_as_it_was(tmp_path, segmenter):
    segment_video(segmenter, make(tmp_path / "in.mp4", VARIED, last=500), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert film.duration == 1_500_000


def test_a_turned_video_is_segmented_upright(tmp_path, segmenter):
    source = make(tmp_path / "in.mp4", turn=-90)  # clockwise: what was on the left is above
    assert segment_video(segmenter, source, tmp_path / "out.mp4", opacity=0.0) == 12
    _, first = frames(tmp_path / "out.mp4")[0]
    assert first.shape == (512, 384, 3)
    bright = np.argwhere(first.min(axis=2) > 200)
    assert bright[:, 0].max() < 150  # the square starts at the left, ten lines below the upper edge
    assert bright[:, 1].min() > 150


@pytest.mark.parametrize("size", [(64, 48), (1280, 720)], ids=["small", "hd"])
def test_colors_stay_as_they_were(tmp_path, monkeypatch, size):
    """A green that nothing is known about is BT.601 in small videos and BT.709 in large ones, as players have it."""
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as film:
        stream = film.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height = size
        pixels = np.full((size[1], size[0], 3), GREEN, np.uint8)
        matrix = "ITU709" if size[1] >= 720 else "ITU601"
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
        frame.colorspace = 2  # untold
        film.mux(stream.encode(frame))
        film.mux(stream.encode())
    fake = Fake()
    monkeypatch.setattr(fake, "stream", lambda images, **options: (empty(image) for image in images))
    segment_video(fake, source, tmp_path / "out.mp4")
    _, seen = frames(tmp_path / "out.mp4")[0]
    np.testing.assert_allclose(np.median(seen, axis=(0, 1)), GREEN, atol=3)


def empty(image):
    return Segmentation("panoptic", image, np.zeros(image.shape[:2], np.int32), (), {0: "square"})


def test_odd_sides_are_made_even(tmp_path, segmenter):
    source = make(tmp_path / "in.mkv", size=(501, 333), times=EVEN[:2])
    segment_video(segmenter, source, tmp_path / "out.mp4")
    assert frames(tmp_path / "out.mp4")[0][1].shape == (334, 502, 3)


def test_a_segment_keeps_its_shade_while_others_come_and_go(tmp_path):
    fake = Fake()
    source = make(tmp_path / "in.mp4")
    segment_video(fake, source, tmp_path / "out.mp4", opacity=1.0)
    first, second = (shade(tuple(palette(fake.labels)[0].tolist()), number) for number in (0, 1))
    for number, (_, picture) in enumerate(frames(tmp_path / "out.mp4")):
        inside = picture[8 * 22, 8 * (2 * number + 3)]  # the square is named second in the first frame
        np.testing.assert_allclose(inside, second, atol=6, err_msg=str(number))
        assert np.abs(inside.astype(int) - first).max() > 30


def test_no_more_than_a_batch_is_read_ahead(tmp_path, monkeypatch):
    read, ahead = [], []
    network = Segmenter(small_model(), "semantic", size="64")
    pixels = video_files_module._pixels
    monkeypatch.setattr(video_files_module, "_pixels", lambda *args: read.append(1) or pixels(*args))
    write = video_files_module.VideoWriter.write

    def counting(self, picture):
        ahead.append(len(read) - len(ahead))
        write(self, picture)

    monkeypatch.setattr(video_files_module.VideoWriter, "write", counting)
    segment_video(network, make(tmp_path / "in.mp4"), tmp_path / "out.mp4", batch_size=4)
    assert max(ahead) == 4


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["video", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_weights_an_untrained_network_stands_in_and_says_so(folder):
    make("in.mp4", EVEN[:2])
    result = run("in.mp4", "out.mp4", "--task", "panoptic", "--size", "64", "--batch-size", 2)
    assert "Untrained network" in result.stderr
    assert "2 frames -> out.mp4" in result.stdout
    _, picture = frames("out.mp4")[0]
    np.testing.assert_allclose(picture[1, 1], (140, 20, 20), atol=6)  # the banner


def test_an_output_is_overwritten_only_by_force_and_never_the_input(folder):
    make("in.mp4", EVEN[:2])
    (folder / "out.mp4").write_text("precious")
    assert "--force" in run("in.mp4", "out.mp4", code=2).stderr
    assert (folder / "out.mp4").read_text() == "precious"
    assert "is the video to read" in run("in.mp4", "in.mp4", "--force", code=2).stderr
    run("in.mp4", "out.mp4", "--size", "64", "--force")
    assert len(frames("out.mp4")) == 2


def cut(path):
    contents = path.read_bytes()
    path.write_bytes(contents[: len(contents) * 3 // 5])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text.mp4", "text.mp4 is not a video"),
        ("notes.txt", "notes.txt has no moving pictures"),
        ("empty.mp4", "empty.mp4 is not a video"),
        ("missing.mp4", "missing.mp4 does not exist"),
        (".", "is a folder"),
        (PHOTO, "has no moving pictures"),
        ("sound.mp4", "sound.mp4 has no moving pictures"),
        ("list.m3u8", "list.m3u8 is not a video"),
        ("cut.mp4", "cut.mp4 is not a video, or damaged"),
        ("cut_fast.mp4", "cut_fast.mp4 is damaged or incomplete"),
        ("cut.mkv", "cut.mkv is incomplete: it ends after"),
    ],
)
def test_what_is_no_whole_video_is_one_sentence_and_leaves_nothing(folder, name, message):
    (folder / "text.mp4").write_text("just text\n" * 50)
    (folder / "notes.txt").write_text("just text\n" * 50)
    (folder / "empty.mp4").touch()
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    with av.open("sound.mp4", "w") as film:
        voice = film.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        film.mux(voice.encode(frame))
        film.mux(voice.encode())
    if "cut" in str(name):
        times = [40 * number for number in range(60)]
        cut(make(folder / name, times, sound="aac"))
        if name == "cut_fast.mp4":
            faststart(folder / name, times)
    there = sorted(folder.iterdir())
    result = run(name, "out.mp4", "--size", "64", code=2)
    assert message in result.stderr
    assert sorted(folder.iterdir()) == there


def faststart(path, times):
    """Write a video whose index comes first, and cut it."""
    make(path, times, sound="aac")
    whole = path.with_name("whole.mp4")
    with av.open(str(path)) as film, av.open(str(whole), "w", options={"movflags": "faststart"}) as copy:
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in film.streams}
        for packet in film.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    whole.replace(path)
    cut(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.avi"], "does not name a kind of video"),
        (["missing/out.mp4"], "the folder missing does not exist"),
        (["out.mov"], "does not go into .mov files; choose a name that ends in .mkv"),
        (["out.mp4", "--label", "unicorn"], "there is no class 'unicorn'"),
        (["out.mp4", "--opacity", "2"], "opacity must be from 0 to 1"),
        (["out.mp4", "--threshold", "2"], "threshold must be a number from 0 to 1"),
        (["out.mp4", "--dtype", "float16"], "--dtype goes with --weights"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(folder, arguments, message):
    make("in.mkv", EVEN[:5], sound="libopus")
    assert message in run("in.mkv", *arguments, "--size", "64", code=2).stderr
    assert [path.name for path in folder.iterdir()] == ["in.mkv"]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    fake = Fake()
    stream = fake.stream

    def interrupted(images, **options):
        for number, result in enumerate(stream(images)):
            if number == 5:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(fake, "stream", interrupted)
    source = make(tmp_path / "in.mp4", sound="aac")
    with pytest.raises(KeyboardInterrupt):
        segment_video(fake, source, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [source]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(self, picture):
        raise OSError("No space left on device")

    monkeypatch.setattr(video_files_module.VideoWriter, "write", full)
    source = make(tmp_path / "in.mp4", EVEN[:2])
    with pytest.raises(InputError, match="cannot be written: No space left"):
        segment_video(Fake(), source, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [source]
