"""A film is read, segmented, drawn and encoded at the same time; what goes wrong in any of these is told."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from video_files import CONSTANT_RATE, Still, frames, make

from lucid_mlx import InputError
from lucid_mlx.video import segment_video
from lucid_mlx.video.draw_video import Drawing
from lucid_mlx.video.reader import VideoReader
from lucid_mlx.video.writer import VideoWriter


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("lucid-mlx-prefetch")]


def test_all_parts_run_at_the_same_time(tmp_path, monkeypatch):
    running, most = [], [0]

    def slowed(owner, name):
        method = getattr(owner, name)

        def slow(self, *args):
            running.append(name)
            most[0] = max(most[0], len(set(running)))
            time.sleep(0.1)
            running.remove(name)
            return method(self, *args)

        monkeypatch.setattr(owner, name, slow)

    for owner, name in (
        (Drawing, "__call__"), (VideoWriter, "write"), (VideoReader, "_frames_of"), (Still, "segmented"),
    ):  # fmt: skip
        slowed(owner, name)
    segment_video(Still(), make(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert most == [4]
    order = [
        round((np.argwhere(image.min(axis=2) > 200)[:, 1].mean() - 60) / 16)
        for _, image in frames(tmp_path / "out.mp4")
    ]
    assert order == list(range(12))


def failing_read(monkeypatch):
    monkeypatch.setattr(VideoReader, "_frames_of", fail_later())


def failing_drawing(monkeypatch):
    monkeypatch.setattr(Drawing, "__call__", fail_later(Drawing.__call__))


def failing_encoding(monkeypatch):
    monkeypatch.setattr(VideoWriter, "write", fail_later(VideoWriter.write))


def failing_network(monkeypatch):
    def stream(self, video, **options):
        for number, result in enumerate(original(self, video)):
            if number == 3:
                raise InputError("it broke")
            yield result

    original = Still.stream
    monkeypatch.setattr(Still, "stream", stream)


def fail_later(method=VideoReader._frames_of):
    calls = []

    def call(self, *args):
        calls.append(1)
        if len(calls) > 3:
            raise InputError("it broke")
        return method(self, *args)

    return call


@pytest.mark.parametrize("fail", [failing_read, failing_network, failing_drawing, failing_encoding])
def test_an_error_of_any_part_comes_out_and_leaves_no_file_and_no_thread(tmp_path, monkeypatch, fail):
    source = make(tmp_path / "in.mp4", audio="aac")
    fail(monkeypatch)
    with pytest.raises(InputError, match="it broke"):
        segment_video(Still(), source, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [source]
    assert not threads()


SCRIPT = """
import sys
sys.path[:0] = {path}
from pathlib import Path
from video_files import Still
from test_video_threads import threads
from lucid_mlx.video import segment_video
def told(number, total):
    print(number, flush=True)
try:
    segment_video(Still(0.2), Path({source!r}), Path({target!r}), on_frame=told)
except KeyboardInterrupt:
    print("threads:", len(threads()), flush=True)
    raise
"""


def test_ctrl_c_ends_at_once_and_leaves_no_file_and_no_thread(tmp_path):
    source = make(tmp_path / "in.mp4", [40 * number for number in range(100)])
    here = Path(__file__).parent
    script = SCRIPT.format(path=[str(here), str(here.parent)], source=str(source), target=str(tmp_path / "out.mp4"))
    # A shell's job in the background ignores Ctrl-C, and so would its children.
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{script}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stdout:
        if line.strip() == "2":
            break
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert "threads: 0" in out, error
    assert len(out.splitlines()) < 20  # far from all frames
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == [source]


def test_without_a_terminal_lines_tell_the_speed_and_the_time_left(tmp_path, capsys):
    source = make(tmp_path / "in.mp4")
    segment_video(Still(0.3), source, tmp_path / "out.mp4", progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("in.mp4: frame 3 of 12, ")
    assert lines[0].endswith(" s left")
    assert " frames/s, " in lines[0]
    assert lines[1].startswith("in.mp4: frame 12 of 12, ")
    assert lines[1].endswith(" frames/s")


def test_in_a_terminal_a_bar_tells_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    segment_video(Still(), make(tmp_path / "in.mp4"), tmp_path / "out.mp4", progress=True)
    told = capsys.readouterr().err
    assert "12/12" in told
    assert "frame/s" in told


def test_of_a_part_the_film_begins_at_zero_with_its_sound(tmp_path):
    source = make(tmp_path / "in.mp4", [40 * number for number in range(24)], audio="aac", key_frames=7)
    count = segment_video(Still(), source, tmp_path / "out.mp4", start=0.2, every=3, max_frames=3)
    assert count == 3
    assert [float(time) for time, _ in frames(tmp_path / "out.mp4")] == [0, 0.12, 0.24]
    import av

    with av.open(str(tmp_path / "out.mp4")) as container:
        sound = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
        assert 0.3 <= max(sound) < 0.36
        assert container.streams.video[0].duration * container.streams.video[0].time_base == pytest.approx(0.36)


def test_a_film_of_one_frame_is_one_frame(tmp_path):
    assert segment_video(Still(), make(tmp_path / "in.mp4", CONSTANT_RATE[:1]), tmp_path / "out.mp4") == 1
    assert len(frames(tmp_path / "out.mp4")) == 1
