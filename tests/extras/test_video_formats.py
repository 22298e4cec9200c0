"""`lucid-mlx video --format`, and a result that is drawn over its film again: needs PyAV."""

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from helpers import SCENES, run_cli, small_model
from PIL import Image
from pycocotools import mask as coco_mask

from lucid_mlx import InputError, Segmenter, VideoSegmentation, VideoSegmenter
from lucid_mlx.video.segment_video import segment_video

FORMATS = "mp4,json,youtubevis,masks,mot"


def make(path, count=6, size=(64, 48), rate=25, sound=False):
    """A video of a bright square that moves by two pixels a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        audio = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(count):
            pixels = np.full((size[1], size[0], 3), (30, 160, 60), np.uint8)
            pixels[10:26, 2 * number : 2 * number + 16] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        if audio is not None:
            samples = np.zeros((1, 16000 * count // rate), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def frames(path):
    with av.open(str(path)) as container:
        return [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24"))
            for frame in container.decode(video=0)
        ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("in.mp4")
    return tmp_path


def run(*arguments, **options):
    return run_cli(
        "video", "in.mp4", *arguments, "--weights", SCENES, "--task", "instance", "--size", "64x64", **options
    )


def test_all_formats_agree_with_each_other(folder):
    printed = run("-o", "found", "--format", FORMATS, "--threshold", "0.05").stdout
    names = ["in.mp4", "in.json", "in-youtubevis.json", "in-masks", "in-mot.txt"]
    assert sorted(path.name for path in (folder / "found").iterdir()) == sorted(names)
    assert all(f"found/{name}" in printed for name in names)
    assert len(frames("found/in.mp4")) == 6
    data = json.loads((folder / "found/in.json").read_text())
    assert (data["video"], data["width"], data["height"], len(data["frames"])) == ("in.mp4", 64, 48, 6)
    assert [frame["time"] for frame in data["frames"]] == pytest.approx([0.04 * number for number in range(6)])
    assert data["tracks"]
    results = json.loads((folder / "found/in-youtubevis.json").read_text())
    assert len(results) == len(data["tracks"])
    lines = (folder / "found/in-mot.txt").read_text().splitlines()
    assert len(lines) == sum(len(frame["segments"]) for frame in data["frames"])
    for number, frame in enumerate(data["frames"]):
        with Image.open(folder / f"found/in-masks/{number:05}.png") as image:
            ids = np.asarray(image)
        expected = np.zeros((48, 64), int)
        for segment in reversed(frame["segments"]):
            mask = coco_mask.decode(segment["segmentation"]).astype(bool)
            assert mask.sum() == segment["area"]
            expected[mask] = segment["track_id"]
            index = [track["id"] for track in data["tracks"]].index(segment["track_id"])
            assert results[index]["segmentations"][number] == segment["segmentation"]
        assert np.array_equal(ids, expected)


def test_one_format_has_the_name_that_was_given_and_no_film_is_made(folder):
    told = run("-o", "tracks.json", "--format", "json", "--opacity", "0.2").stderr
    assert "--opacity changes nothing without the format mp4" in told
    run("masks", "--format", "masks")
    run("tracks.txt", "--format", "MOT")
    assert sorted(path.name for path in folder.iterdir()) == ["in.mp4", "masks", "tracks.json", "tracks.txt"]
    assert len(list((folder / "masks").iterdir())) == 6


def test_times_are_those_in_the_film(folder):
    run("-o", "part.json", "--format", "json", "--start", "0.08", "--every", "2")
    data = json.loads((folder / "part.json").read_text())
    assert [frame["time"] for frame in data["frames"]] == pytest.approx([0.08, 0.16])


def test_classes_that_are_not_asked_for_are_in_no_format(folder):
    run("-o", "all.json", "--format", "json", "--threshold", "0.05")
    labels = {track["label"] for track in json.loads((folder / "all.json").read_text())["tracks"]}
    assert len(labels) > 1
    kept = min(labels)
    run("-o", "one.json", "--format", "json", "--threshold", "0.05", "--labels", kept)
    assert {track["label"] for track in json.loads((folder / "one.json").read_text())["tracks"]} == {kept}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("out.mp4", "--format", "mp5"), "there is no format 'mp5'; did you mean mp4?"),
        (("out.mp4", "--format", "mp4,json"), "out.mp4 looks like one file; several formats need a folder: -o out/"),
        (("out.mp4", "--format", "json"), "out.mp4 does not fit the format json; expected a .json file"),
        (("out", "--format", "mot"), "out does not fit the format mot; expected a .txt file"),
        (("out.png", "--format", "masks"), "expected a folder, whose name has no ending"),
        (("full", "--format", "masks"), "the folder full is not empty; choose another name or pass --force"),
        (("old.json", "--format", "json"), "old.json exists already; choose another name or pass --force"),
        (("no/found", "--format", "mp4,json"), "the folder no/found cannot be made"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_runs(folder, arguments, message):
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    (folder / "old.json").write_text("mine")
    before = sorted(folder.rglob("*"))
    assert message in run(*arguments, code=2).stderr
    assert sorted(folder.rglob("*")) == before


def test_force_replaces_results_and_nothing_else(folder):
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    (folder / "full" / "00077.png").write_text("of a longer film")
    run("full", "--format", "masks", "--force")
    assert sorted(path.name for path in (folder / "full").iterdir()) == [*(f"{n:05}.png" for n in range(6)), "mine.txt"]


# -- a result is drawn over its film again


@pytest.fixture(scope="module")
def segmenter():
    return VideoSegmenter(Segmenter(small_model(), "instance", size="64x64", threshold=0.0))


def found(segmenter, source, target=None, **options):
    result = VideoSegmentation("instance", segmenter.segmenter.labels, source.name, source)
    segment_video(segmenter, source, target, result=result, **options)
    return result


@pytest.mark.parametrize(
    "part", [{}, {"start": 0.08, "every": 2, "end": 0.4}, {"max_frames": 1}], ids=["all", "part", "one"]
)
def test_it_is_the_film_that_was_drawn_at_first(tmp_path, segmenter, part):
    source = make(tmp_path / "in.mp4", 12, sound=True)
    result = found(segmenter, source, tmp_path / "first.mp4", opacity=0.7, **part)
    assert result.save(tmp_path / "again.mp4", opacity=0.7) == tmp_path / "again.mp4"
    first, again = frames(tmp_path / "first.mp4"), frames(tmp_path / "again.mp4")
    assert len(again) == len(first) == len(result.frames) > 0
    assert [time for time, _ in again] == pytest.approx([time for time, _ in first], abs=2e-3)
    for (_, one), (_, other) in zip(first, again, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 1
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert len(container.streams.audio) == 1


def test_frames_take_the_place_of_a_film(tmp_path, segmenter):
    source = make(tmp_path / "in.mp4")
    pixels = [frame for _, frame in frames(source)]
    result = VideoSegmentation("instance", segmenter.segmenter.labels)
    for frame in segmenter.stream(pixels):
        result.add(frame)
    result.save(tmp_path / "out.mp4", frames=pixels, frame_rate=10)
    written = frames(tmp_path / "out.mp4")
    assert [time for time, _ in written] == pytest.approx([0.1 * number for number in range(6)])
    expected = np.asarray(result.segmentation(0, pixels[0]).draw(legend=False))
    assert written[0][1].shape == expected.shape


def test_what_does_not_belong_to_the_result_is_refused_and_nothing_is_left(tmp_path, segmenter):
    source, other = make(tmp_path / "in.mp4"), make(tmp_path / "other.mp4", 3)
    wider = make(tmp_path / "wider.mp4", size=(96, 48))
    result = found(segmenter, source)
    target = tmp_path / "out.mp4"
    for options, message in [
        ({"source": other}, r"other.mp4 has no frame at 0.120 s; expected the video that was segmented"),
        ({"source": wider}, "expected an image of shape"),
        ({"frames": [np.zeros((48, 64, 3), np.uint8)]}, "there are 1 frames, but the result has 6"),
        ({"source": tmp_path / "no.mp4"}, "does not exist"),
    ]:
        with pytest.raises(InputError, match=message):
            result.save(target, **options)
        assert not target.exists()
    with pytest.raises(InputError, match="out.gif does not name a video format"):
        result.save(tmp_path / "out.gif")
    with pytest.raises(InputError, match="is also an input"):
        result.save(source)
    with pytest.raises(InputError, match="keeps no frames to draw on; pass the path of the video, source="):
        VideoSegmentation("instance", {0: "cup"}).save(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "other.mp4", "wider.mp4"]
