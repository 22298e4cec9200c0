"""The page in a browser: needs selenium, and Debian's chromium and chromium-driver, or Chrome on macOS."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from io import BytesIO
from urllib.parse import urlsplit

import mlx.core as mx
import numpy as np
import pytest
import requests
from browser import SECONDS, Page, Server
from helpers import PHOTO, SCENES, small_model
from PIL import Image
from selenium.webdriver.common.by import By

from lucid_mlx.cli.web_app import MAX_UPLOAD_BYTES
from lucid_mlx.cli.web_picture import annotations
from lucid_mlx.models import Mask2Former, Mask2FormerConfig
from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.text import printable
from lucid_mlx.weights import write_checkpoint

MARKUP = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) <i>a</i> **a**\n# b \x1b]0;x\x07 \u202eabc"


def weights(folder):
    """A small untrained network, whose queries differ in what they say of a photo."""
    mx.random.seed(2)
    backbone = {"model_type": "resnet", "embedding_size": 16, "hidden_sizes": [16, 32, 64, 128], "depths": [1] * 4}
    model = Mask2Former(
        Mask2FormerConfig(
            num_labels=6, feature_size=64, mask_feature_size=64, hidden_dim=64, backbone_config=backbone,
            num_queries=20, encoder_layers=1, encoder_feedforward_dim=128, decoder_layers=3, dim_feedforward=128,
            num_attention_heads=4, init_std=0.5, init_xavier_std=0.15,
        )
    )  # fmt: skip
    model.config.id2label = {number: f"untrained {letter}" for number, letter in enumerate("ABCDEF")}
    return write_checkpoint(
        folder, model.config.to_dict(), named_parameters(model), {"source": "a test"}, {"size": 384}
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    work = tmp_path_factory.mktemp("app")
    (work / "files").mkdir()
    running = Server(work / "files", "--task", "semantic", "--weights", weights(work / "weights"))
    yield running
    running.stop()
    assert "Traceback" not in running.log.read_text()
    assert running.files() == []  # photos and results are gone


@pytest.fixture
def page(server, browser):
    browser.get(server.address)
    Page(browser).wait(lambda: browser.find_elements(By.CSS_SELECTOR, "input[type=file]"))
    return Page(browser)


def classes(names):
    return sorted({re.fullmatch(r"(untrained [A-F])( \d+)?, (\d+%|\d\.\d\d)", name)[1] for name in names})


def score(name):
    return float(name.rsplit(", ")[-1])


def test_a_dropped_photo_is_segmented_and_again_for_another_task(page):
    assert "Confidence" not in page.text()
    page.drop(PHOTO)
    semantic = page.wait(page.legend)
    assert len(classes(semantic)) == len(semantic) > 1
    assert all(name in page.found() for name in classes(semantic))
    picture = page.browser.find_element(By.CSS_SELECTOR, "img.base-image")
    assert page.browser.execute_script("return arguments[0].naturalWidth", picture) == 600
    assert len(page.browser.find_elements(By.CSS_SELECTOR, "img.mask")) == len(semantic)

    page.choose("instance")
    objects = page.wait(lambda: "%" not in page.found() and page.legend())
    assert "Confidence" in page.text()
    assert len(set(objects)) == len(objects) > len(classes(objects))
    assert min(score(name) for name in objects) >= 0.5
    page.threshold("0.72")
    confident = [name for name in objects if score(name) > 0.72]
    assert 0 < len(confident) < len(objects)
    page.wait(lambda: sorted(map(score, page.legend())) == sorted(map(score, confident)))

    with Image.open(BytesIO(page.download("Download what", "coffee.png"))) as picture:
        assert picture.width == 600
    page.choose_format("json")
    data = json.loads(page.download("Download what", "coffee.json"))
    assert (data["image"], data["task"], data["width"]) == ("coffee.jpg", "instance", 600)
    assert classes(confident) == sorted({segment["label"] for segment in data["segments"]})


def test_a_bad_image_is_reported_in_the_page(page, tmp_path):
    (tmp_path / "notes.jpg").write_text("just text")
    page.drop(tmp_path / "notes.jpg")
    page.wait(lambda: "notes.jpg is not an image that Pillow can read" in page.text())
    assert page.legend() == []


def test_the_page_contacts_no_other_host(page, browser):
    page.drop(PHOTO)
    page.wait(page.legend)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = {
        urlsplit(message["params"]["request"]["url"])
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    hosts = {address.hostname for address in requested if address.scheme in ("http", "https", "ws", "wss")}
    assert hosts == {"127.0.0.1"}


def test_it_listens_on_localhost_only(server):
    port = urlsplit(server.address).port
    assert requests.get(server.address, timeout=10).status_code == 200
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port), timeout=5):
        pass  # a server that listens on all addresses would accept this


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["", "config", "gradio_api/upload", "gradio_api/queue/join", "theme.css"])
def test_other_pages_get_nothing(server, headers, path):
    for method in ("GET", "POST", "OPTIONS"):
        asked = {**headers, "Access-Control-Request-Method": "POST"}
        answer = requests.request(method, server.address + path, headers=asked, timeout=SECONDS)
        assert answer.status_code == 403
        assert not any(name.lower().startswith("access-control") for name in answer.headers)


def test_of_ten_uploads_the_last_one_and_its_answer_stay(server):
    session, before, sizes = uuid.uuid4().hex, server.size(), []
    for number in range(10):
        photo = BytesIO()
        with Image.open(PHOTO) as opened:
            opened.resize((600, 400 + number)).save(photo, "png")
        _, picture, found, download, *_ = server.answer("photo.png", photo.getvalue(), session)["data"]
        assert "untrained" in found
        assert picture["value"]["annotations"]
        assert requests.get(download["value"]["url"], timeout=SECONDS).status_code == 200
        time.sleep(1.1)  # what is newer is removed after the next answer
        sizes.append(server.size() - before)
    assert 0 < max(sizes) <= 2.1 * sizes[0]  # files of the page that show one answer, and those of the one before


def test_a_large_upload_is_refused_and_leaves_nothing(server):
    before = server.size()
    answer = server.upload("large.png", bytes(MAX_UPLOAD_BYTES + 1))
    assert answer.status_code == 413
    assert server.size() == before


def test_an_error_is_text_not_markup(server):
    before = server.size()
    told = server.answer("<b>'&.png", b"no photo", uuid.uuid4().hex)["error"]
    assert "is not an image that Pillow can read" in told
    assert not set("<>'") & set(told)
    assert server.size() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_its_files(number, start):
    running = start("--weights", SCENES)
    running.upload("photo.png", b"x")
    assert running.files()
    running.stop(number)
    assert running.files() == []
    assert "Traceback" not in running.log.read_text()


def test_the_files_of_a_killed_one_go_with_the_next_start(start):
    killed = start("--weights", SCENES)
    killed.upload("photo.png", b"x")
    killed.stop(signal.SIGKILL)
    assert killed.files()
    running = start("--weights", SCENES)
    assert running.files() == []
    running.upload("photo.png", b"x")
    start("--weights", SCENES)
    assert running.files()  # a living one keeps its own


def test_names_of_classes_are_text_not_markup(browser, start, tmp_path):
    mx.random.seed(1)
    model = small_model(num_labels=3, init_std=1.0)
    model.config.id2label = {number: f"{MARKUP} {number}" for number in range(3)}
    metadata, image_config = {"task": "semantic"}, {"size": {"height": 64, "width": 64}}
    folder = write_checkpoint(
        tmp_path / "weights", model.config.to_dict(), named_parameters(model), metadata, image_config
    )
    running = start("--weights", folder)
    browser.get(running.address)
    page = Page(browser)
    page.wait(lambda: browser.find_elements(By.CSS_SELECTOR, "input[type=file]"))
    page.drop(PHOTO)
    legend = page.wait(page.legend)
    assert all(name.startswith(printable(MARKUP)) for name in legend)
    assert printable(MARKUP) in page.found()
    assert browser.find_elements(By.CSS_SELECTOR, "img[src=x], i, a[href^=javascript]") == []
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", running.log.read_text())


def test_a_port_in_use_is_reported_in_one_sentence(server):
    port = str(urlsplit(server.address).port)
    command = [sys.executable, "-m", "lucid_mlx", "app", "--weights", SCENES, "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert f"port {port} is not free" in done.stderr
    assert "Traceback" not in done.stderr


def test_annotations_match_the_drawn_image():
    ids = np.zeros((1000, 2000), np.int32)
    ids[:500, :1000], ids[:500, 1000:], ids[500:, :1000] = 1, 2, 3
    segments = tuple(
        Segment(number, label_id, name, 0.876, 500_000, (0, 0, 1, 1))
        for number, label_id, name in [(1, 0, "cup"), (2, 1, "spoon"), (3, 0, "cup"), (4, 0, "cup")]
    )
    photo = np.zeros((1000, 2000, 3), np.uint8)
    result = Segmentation("panoptic", photo, ids, segments, {0: "cup", 1: "spoon"})
    (image, masks), colors, segments = annotations(result)
    assert image.size == (1280, 640)
    assert [name for _, name in masks] == ["cup 1, 0.88", "spoon, 0.88", "cup 2, 0.88"]  # the fourth is not visible
    assert [segment.id for segment in segments] == [1, 2, 3]
    drawn = np.asarray(result.draw(opacity=1.0, legend=False))
    for (mask, name), (row, column) in zip(masks, [(50, 50), (50, 1950), (950, 50)], strict=True):
        assert mask.shape == (640, 1280)
        assert mask[row * 640 // 1000, column * 640 // 1000] == mask.max() > 0
        assert np.count_nonzero(mask) == 640 * 1280 // 4
        assert colors[name] == "#" + bytes(drawn[row, column]).hex()
