"""A camera, in whose place a file plays or FFmpeg's test picture is filmed, and the page that shows what it sees."""

import http.client
import signal
import sys
import threading
import time
import urllib.request
from io import BytesIO

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import SCENES
from PIL import Image
from video_files import Still, frames, make

from lucid_mlx import InputError
from lucid_mlx.cli import video_live
from lucid_mlx.cli.live_page import LivePage
from lucid_mlx.cli.main import main
from lucid_mlx.video import live
from lucid_mlx.video.live import Camera, segment_live


def place(image):
    return round((np.argwhere(image.min(axis=2) > 200)[:, 1].mean() - 7.5) / 2)


@pytest.fixture
def film(tmp_path):
    return make(tmp_path / "in.mp4", [40 * number for number in range(24)])


def draw(frame):
    return frame.image


def camera_threads():
    return [
        thread for thread in threading.enumerate() if thread.name.startswith(("lucid-mlx-camera", "lucid-mlx-page"))
    ]


def test_who_is_slow_sees_the_newest_frame_and_others_are_counted(film):
    with Camera(str(film)) as camera:
        seen = []
        for image in camera.frames():
            seen.append(place(image))
            time.sleep(0.2)  # five frames' time
    assert seen == sorted(set(seen))
    assert 3 <= len(seen) <= 12
    assert seen[-1] == 23
    assert len(seen) + camera.dropped == 24
    times = [round(1000 * time * camera.time_base) for time, _ in camera.timestamps]
    assert times == [40 * number for number in seen]
    assert not camera_threads()


def test_who_stops_early_leaves_no_thread(film):
    with Camera(str(film)) as camera:
        images = camera.frames()
        next(images)
        images.close()
    assert not camera_threads()


def test_what_is_seen_is_shown_and_written(film, tmp_path):
    shown = []
    with Camera(str(film)) as camera:
        count = segment_live(Still(0.1), camera, draw, shown.append, target=tmp_path / "out.mp4")
    written = frames(tmp_path / "out.mp4")
    assert len(written) == len(shown) == count
    assert count + camera.dropped == 24
    assert [round(float(time) * 25) for time, _ in written] == [place(image) for image in shown]


def test_ctrl_c_ends_the_film_and_keeps_it(film, tmp_path):
    shown = []

    def show(image):
        shown.append(image)
        if len(shown) == 5:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Camera(str(film)) as camera:
            segment_live(Still(), camera, draw, show, target=tmp_path / "out.mp4")
    finally:
        signal.signal(signal.SIGINT, before)
    assert 4 <= len(frames(tmp_path / "out.mp4")) <= 5
    assert not camera_threads()


def test_an_error_leaves_no_film_and_no_thread(film, tmp_path):
    def show(image):
        raise InputError("it broke")

    with Camera(str(film)) as camera, pytest.raises(InputError, match="it broke"):
        segment_live(Still(), camera, draw, show, target=tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [film]
    assert not camera_threads()


def test_a_camera_is_opened_by_its_number(monkeypatch):
    monkeypatch.setattr(live, "CAMERAS", {sys.platform: ("lavfi", "testsrc=size=96x64:rate=25:duration={}")})
    monkeypatch.setattr(live, "CAMERA_OPTIONS", {})
    with Camera("1") as camera:
        images = list(camera.frames())
    assert images[0].shape == (64, 96, 3)
    assert len(images) + camera.dropped == 25


def test_without_a_camera_it_says_so(monkeypatch):
    monkeypatch.setattr(live, "CAMERAS", {sys.platform: ("lavfi", "nosuchcamera{}")})
    with pytest.raises(InputError, match="camera 7 cannot be opened; is it there, and may the terminal use it"):
        Camera("7")
    monkeypatch.setattr(live, "CAMERAS", {})
    with pytest.raises(InputError, match="PyAV reads no camera here"):
        Camera("7")


def test_the_page_shows_pictures_as_they_come():
    with LivePage() as page:
        with urllib.request.urlopen(page.address) as answer:
            assert b'<img src="/pictures"' in answer.read()
        page.show(np.full((48, 64, 3), (200, 60, 20), np.uint8))
        with urllib.request.urlopen(page.address + "pictures") as answer:
            assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
            for color in ((200, 60, 20), (20, 60, 200)):
                assert answer.readline() == b"--picture\r\n"
                assert answer.readline() == b"Content-Type: image/jpeg\r\n"
                length = int(answer.readline().split(b": ")[1])
                answer.readline()
                picture = np.asarray(Image.open(BytesIO(answer.read(length))))
                answer.readline()
                np.testing.assert_allclose(picture[24, 32], color, atol=8)
                page.show(np.full((48, 64, 3), (20, 60, 200), np.uint8))
    assert not camera_threads()


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}]
)
def test_no_other_page_sees_the_camera(headers):
    with LivePage() as page:
        host = page.address.removeprefix("http://").rstrip("/")
        connection = http.client.HTTPConnection(host)
        connection.request("GET", "/pictures", headers=headers)
        assert connection.getresponse().status == 403
        connection.close()


def test_a_port_that_is_taken_is_told():
    with LivePage() as page, pytest.raises(InputError, match="cannot be used: .*; give another one"):
        LivePage(int(page.address.rstrip("/").rpartition(":")[2]))


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["video", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def test_the_verb_shows_and_writes_what_a_camera_sees(film, tmp_path, monkeypatch):
    monkeypatch.setattr(video_live, "VideoSegmenter", lambda *args, **options: Still())
    result = run("--camera", film, "--weights", SCENES, "-o", tmp_path / "out.mp4", "--every", 2, "--frames", 4)
    assert "Open http://127.0.0.1:" in result.stderr
    assert "--every changes nothing with a camera" in result.stderr
    assert ": 4 frames, " in result.stdout
    assert len(frames(tmp_path / "out.mp4")) == 4
    assert "pass --force" in run("--camera", film, "--weights", SCENES, "-o", tmp_path / "out.mp4", code=2).stderr
    assert "is also an input" in run("--camera", film, "--weights", SCENES, "-o", film, "--force", code=2).stderr


def test_a_camera_goes_without_a_file(film):
    assert "--camera goes without IN" in run(film, "--camera", 0, "--weights", SCENES, code=2).stderr
    assert "--camera goes without IN" in run("--camera", 0, "--format", "json", "--weights", SCENES, code=2).stderr
    assert "Missing argument 'IN'" in run("--weights", SCENES, code=2).stderr
