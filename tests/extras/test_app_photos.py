"""Several photos, their segments and two checkpoints on the page, in a browser."""

import csv
import io
import json
import zipfile

import numpy as np
import pytest
from browser import Page
from helpers import PHOTO, SCENE, SCENES
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from lucid_mlx import Segmenter
from lucid_mlx.cli.formats import FORMATS


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from browser import Server

    work = tmp_path_factory.mktemp("app")
    (work / "files").mkdir()
    running = Server(work / "files", "--weights", SCENES, "--compare", SCENES)
    yield running
    running.stop()
    assert "Traceback" not in running.log.read_text()
    assert running.files() == []


@pytest.fixture
def page(server, browser):
    browser.get(server.address)
    Page(browser).wait(lambda: browser.find_elements(By.CSS_SELECTOR, "input[type=file]"))
    return Page(browser)


@pytest.fixture(scope="module")
def found():
    return Segmenter(SCENES, keep_candidates=True)(SCENE)


def names(page):
    return sorted(item.rsplit(", ")[0] for item in page.legend())


def labels(result):
    return sorted(segment.label for segment in result.segments)


def middle(result, label):
    """A point inside of a segment, as fractions of the picture."""
    (segment,) = (one for one in result.segments if one.label == label)
    rows, columns = np.nonzero(result.mask(segment))
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return (columns[nearest] + 0.5) / result.map.shape[1], (rows[nearest] + 0.5) / result.map.shape[0]


def name_box(page):
    return page.browser.find_elements(By.XPATH, "//label[contains(., 'Name of the segment')]//input")


def thumbnails(page):
    return page.browser.find_elements(By.CSS_SELECTOR, "button.thumbnail-item")


def dropped(page, result):
    page.drop(SCENE)
    page.wait(lambda: names(page) == labels(result))


def test_of_several_photos_each_can_be_seen_and_bad_ones_are_told(page, tmp_path):
    (tmp_path / "notes.jpg").write_text("just text")
    page.drop(SCENE, tmp_path / "notes.jpg", PHOTO)
    page.wait(lambda: "left out, 1 of 3 photos: notes.jpg is not an image" in page.text())
    first = page.wait(page.legend)
    page.wait(lambda: len(thumbnails(page)) == 2)
    thumbnails(page)[1].click()
    page.wait(lambda: page.legend() not in ([], first))
    assert json.loads(download(page, "json", "coffee.json"))["image"] == "coffee.jpg"
    thumbnails(page)[0].click()
    page.wait(lambda: page.legend() == first)


def download(page, format, name):
    page.choose_format(format)
    return page.download("Download what", name)


def test_pointing_at_a_segment_shows_it_and_a_click_names_it(page, found):
    dropped(page, found)
    page.point(*middle(found, "coat")).perform()
    script = """const masks = [...document.querySelectorAll('img.mask')]
        return masks.map((mask, index) => mask.classList.contains('active') ? index : -1).filter(index => index >= 0)"""
    (active,) = page.wait(lambda: page.browser.execute_script(script))
    assert page.legend()[active].startswith("coat")

    assert not [box for box in name_box(page) if box.is_displayed()]
    page.point(*middle(found, "coat")).click().perform()
    (box,) = page.wait(lambda: [box for box in name_box(page) if box.get_attribute("value") == "coat"])
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.NULL, "my coat", Keys.ENTER)
    page.wait(lambda: "my coat" in names(page))
    assert "my coat" in page.found()
    page.threshold("0.91")
    higher = found.with_threshold(0.91)
    assert len(higher.segments) < len(found.segments)
    page.wait(lambda: len(page.legend()) == len(higher.segments))
    assert "my coat" in names(page)
    rows = list(csv.DictReader(io.StringIO(download(page, "csv", "segments.csv").decode())))
    assert "my coat" in {row["label"] for row in rows}


def test_a_segment_is_hidden_comes_back_and_is_downloaded_alone(page, found):
    dropped(page, found)
    page.choose_format("cutout")
    page.browser.find_element(By.XPATH, "//button[contains(@class, 'legend-item')][contains(., 'T-shirt')]").click()
    with Image.open(io.BytesIO(page.download("Download the segment", "scene-T-shirt-cutout.png"))) as picture:
        visible = np.asarray(picture)[..., 3] > 128
    (shirt,) = (segment for segment in found.segments if segment.label == "T-shirt")
    mask = found.mask(shirt)
    assert np.count_nonzero(visible & mask) / np.count_nonzero(visible | mask) > 0.9

    page.press("Hide the segment")
    page.wait(lambda: "T-shirt" not in names(page) and page.legend())
    assert "T-shirt" not in page.found()
    with zipfile.ZipFile(io.BytesIO(download(page, "all of them", "scene.zip"))) as archive:
        assert len(archive.namelist()) == len(FORMATS) + 1
        assert "T-shirt" not in archive.read("scene.json").decode()
    page.press("Show what is hidden (1)")
    page.wait(lambda: names(page) == labels(found))


def test_the_threshold_moves_without_the_network(server, page, found):
    dropped(page, found)
    for path in [
        path for path in server.files() if path.name == "scene.png" and path.read_bytes() == SCENE.read_bytes()
    ]:
        path.unlink()  # without the photo the network cannot run again
    for threshold in (0.95, 0.91, 0.5):
        wanted = labels(found.with_threshold(threshold))
        page.threshold(str(threshold))
        page.wait(lambda wanted=wanted: names(page) == wanted)
    page.choose("instance")
    page.wait(lambda: "scene.png is not here any more; drop it again" in page.text())


def test_two_checkpoints_stand_side_by_side(page, found):
    page.browser.find_element(By.XPATH, "//button[@role='tab'][contains(., 'Compare')]").click()
    page.browser.find_elements(By.CSS_SELECTOR, "input[type=file]")[1].send_keys(str(SCENE))
    page.wait(lambda: len(page.legend()) == 2 * len(found.segments))
    pictures = [one for one in page.browser.find_elements(By.CSS_SELECTOR, "img.base-image") if one.is_displayed()]
    assert len(pictures) == 2
    assert pictures[0].rect["y"] == pictures[1].rect["y"]
    assert pictures[0].rect["x"] + pictures[0].rect["width"] <= pictures[1].rect["x"]
    boxes = page.browser.find_elements(By.CSS_SELECTOR, "textarea")
    assert "the same class on 100.0% of the pixels" in [box.get_attribute("value") for box in boxes]
    with Image.open(io.BytesIO(page.download("Download both", "compared.png"))) as picture:
        assert picture.width > 1.9 * picture.height * 0.8
