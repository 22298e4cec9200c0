"""A video on the page, in a browser."""

import json
import time
import uuid
import zipfile
from io import BytesIO

import av
import mlx.core as mx
import numpy as np
import pytest
import requests
from browser import SECONDS, Page
from helpers import PHOTO, small_model
from PIL import Image
from selenium.webdriver.common.by import By

from lucid_mlx.cli import web_video
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint

FILES = ["film.mp4", "film.json", "film-youtubevis.json", "film-masks.zip", "film-mot.txt"]


def make(path, count=12):
    """A film that pans over a photo."""
    with Image.open(PHOTO) as photo:
        pixels = np.asarray(photo.convert("RGB").resize((256, 170)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(count):
            part = np.ascontiguousarray(pixels[30:126, number % 128 : number % 128 + 128])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(part, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network that sees small pictures: what is tried here is the page."""
    mx.random.seed(1)
    model = small_model(num_labels=3, init_std=1.0)
    folder, image_config = tmp_path_factory.mktemp("small"), {"size": {"height": 64, "width": 64}}
    return write_checkpoint(
        folder / "weights", model.config.to_dict(), named_parameters(model), {"task": "semantic"}, image_config
    )


@pytest.fixture
def film(tmp_path):
    return make(tmp_path / "film.mp4")


class VideoPage(Page):
    def open(self, address):
        self.browser.get(address)
        self.wait(lambda: self.browser.find_elements(By.XPATH, "//button[@role='tab']"))
        self.browser.find_element(By.XPATH, "//button[@role='tab'][contains(., 'Video')]").click()
        self.wait(lambda: "Segment the video" in self.text())

    def drop(self, path):
        self.browser.find_elements(By.CSS_SELECTOR, "input[type=file]")[-1].send_keys(str(path))
        self.wait(lambda: self.browser.find_elements(By.CSS_SELECTOR, f"a[download='{path.name}']"))

    def start(self):
        self.browser.find_element(By.XPATH, "//button[contains(., 'Segment the video')]").click()

    def found(self):
        return self.browser.find_elements(By.CSS_SELECTOR, "textarea")[-1].get_attribute("value")

    def player(self):
        """Whether the film can be played, its length in seconds, and the width of its picture."""
        script = """const video = document.querySelector('video');
            return video && video.readyState > 1 && [video.error, video.duration, video.videoWidth]"""
        return self.browser.execute_script(script)

    def links(self):
        """The addresses of the results by their names; the uploaded film comes first."""
        links = self.browser.find_elements(By.CSS_SELECTOR, "a[download]")
        return {link.get_attribute("download"): link.get_attribute("href") for link in links[1:]}


def test_a_dropped_video_comes_back_with_its_tracks_and_all_formats(browser, start, weights, film):
    running = start("--weights", weights)
    page = VideoPage(browser)
    page.open(running.address)
    assert f"the first {web_video.MAX_FRAMES} frames are taken" in page.text()
    page.drop(film)
    page.start()
    page.wait(lambda: "/12 frames" in page.text() or page.found())  # how far it is
    page.wait(page.found)
    assert page.found().startswith("12 frames: ")
    assert page.wait(page.player) == [None, pytest.approx(0.48), 512]
    files = {name: requests.get(address, timeout=SECONDS).content for name, address in page.links().items()}
    assert sorted(files) == sorted(FILES)
    data = json.loads(files["film.json"])
    assert (data["video"], data["task"], len(data["frames"])) == ("film.mp4", "semantic", 12)
    assert len(json.loads(files["film-youtubevis.json"])) == len(data["tracks"]) > 0
    with zipfile.ZipFile(BytesIO(files["film-masks.zip"])) as masks:
        assert sorted(masks.namelist())[-12:] == [f"{number:05}.png" for number in range(12)]
    assert len(files["film-mot.txt"].splitlines()) == sum(len(frame["segments"]) for frame in data["frames"])

    page.browser.find_element(By.CSS_SELECTOR, "button[aria-label='Clear'], button[title='Clear']").click()
    page.wait(lambda: not page.found())
    page.wait(lambda: not [path for path in running.files() if path.name in FILES])


def test_what_is_no_video_is_reported_in_the_page(browser, start, weights, tmp_path):
    page = VideoPage(browser)
    page.open(start("--weights", weights).address)
    page.start()
    page.wait(lambda: "drop a video first" in page.text())
    (tmp_path / "notes.mp4").write_text("just text")
    page.drop(tmp_path / "notes.mp4")
    page.start()
    page.wait(lambda: "notes.mp4 is not a video" in page.text())
    assert str(tmp_path) not in page.text()


def test_a_long_video_stops_with_the_page_and_leaves_nothing(browser, start, weights, tmp_path):
    running = start("--weights", weights)
    page = VideoPage(browser)
    page.open(running.address)
    page.drop(make(tmp_path / "long.mp4", 900))
    page.start()
    page.wait(lambda: "/900 frames" in page.text())
    browser.get("about:blank")
    end = time.monotonic() + SECONDS
    while (left := [path for path in running.files() if path.stem == "long"]) and time.monotonic() < end:
        time.sleep(0.5)
    assert left == []
    # The network is free again.
    assert running.answer("photo.jpg", PHOTO.read_bytes(), uuid.uuid4().hex)["data"][2]


def test_of_a_video_that_is_too_long_the_first_frames_are_taken_and_that_is_told(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(web_video, "MAX_FRAMES", 5)
    (tmp_path / "place").mkdir()
    told = []
    _, summary, files = web_video._answer(
        Segmenter(weights),
        make(tmp_path / "long.mp4", 12),
        tmp_path / "place",
        Thresholds(),
        lambda number, total: told.append((number, total)),
    )
    assert summary.startswith("the first 5 frames of 12: ")
    assert told == [(number, 5) for number in range(1, 6)]
    assert [path.rsplit("/", 1)[1] for path in files] == [name.replace("film", "long") for name in FILES]
