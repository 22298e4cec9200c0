"""`lucid_mlx.pipeline` and transformers' pipeline, on the same checkpoint and photos."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reference import PHOTO, build, small_config
from transformers import AutoImageProcessor, Mask2FormerImageProcessor, pipeline

import lucid_mlx

LABELS = 70  # with fewer than 64 classes torch sorts the pairs of a query and a class in no certain order


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    folder = tmp_path_factory.mktemp("theirs")
    build(small_config(num_labels=LABELS), folder)
    size = {"height": 256, "width": 256}
    Mask2FormerImageProcessor(size=size, size_divisor=32, ignore_index=255).save_pretrained(folder)
    theirs = pipeline("image-segmentation", model=str(folder), device="cpu")
    return lucid_mlx.pipeline("image-segmentation", model=folder), theirs, folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A photo as it is, and a smaller one that EXIF turns."""
    folder = tmp_path_factory.mktemp("photos")
    with Image.open(PHOTO) as image:
        plain = image.convert("RGB")
    plain.resize((320, 240)).save(folder / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    plain.resize((200, 150)).save(folder / "b.png", exif=exif)
    return [str(folder / "a.png"), str(folder / "b.png")]


def assert_same(mine: list[dict[str, Any]], their: list[dict[str, Any]], least: int = 1) -> None:
    assert len(mine) == len(their) >= least
    for ours, theirs in zip(mine, their, strict=True):
        assert list(ours) == list(theirs) == ["score", "label", "mask"]
        assert ours["label"] == theirs["label"]
        assert (ours["score"] is None) == (theirs["score"] is None)
        if ours["score"] is not None:
            assert type(ours["score"]) is type(theirs["score"]) is float
            assert ours["score"] == pytest.approx(theirs["score"], abs=2e-5)
        assert ours["mask"].mode == theirs["mask"].mode == "L"
        assert ours["mask"].size == theirs["mask"].size
        # Two resizes of 8-bit pixels and a network apart, single pixels at the border are ties.
        assert (np.asarray(ours["mask"]) != np.asarray(theirs["mask"])).mean() < 2e-3
        assert set(np.unique(ours["mask"])) <= {0, 255}


@pytest.mark.parametrize(
    "options",
    [
        {"subtask": "semantic"},
        {"subtask": "panoptic", "threshold": 0.05, "mask_threshold": 0.02},
        {"threshold": 0.02, "mask_threshold": 0.01, "overlap_mask_area_threshold": 0.2},
        {"subtask": "instance", "threshold": 0.02},
        {"subtask": "instance", "threshold": 0.05, "mask_threshold": 0.9, "overlap_mask_area_threshold": 0.1},
    ],
    ids=str,
)
def test_what_it_returns(pipelines: Any, photos: list[str], options: dict[str, Any]) -> None:
    ours, theirs, _ = pipelines
    for photo in photos:
        assert_same(ours(photo, **options), theirs(photo, **options))


def test_with_its_default_thresholds(pipelines: Any, photos: list[str]) -> None:
    ours, theirs, _ = pipelines
    assert_same(ours(photos[0]), theirs(photos[0]), least=0)


def test_lists_generators_and_other_sources(pipelines: Any, photos: list[str]) -> None:
    ours, theirs, _ = pipelines
    options = {"subtask": "semantic"}
    expected = theirs(photos, **options)
    got = ours(photos, **options, batch_size=2)
    assert isinstance(got, list)
    lazy = ours((photo for photo in photos), **options)
    assert type(lazy) is not list
    for mine in (got, list(lazy)):
        assert len(mine) == 2
        for one, their in zip(mine, expected, strict=True):
            assert_same(one, their)
    with Image.open(photos[1]) as image:
        assert_same(ours(image, **options), theirs(image, **options))
        assert_same(ours(images=image, **options), theirs(image, **options))
    text = base64.b64encode(Path(photos[0]).read_bytes()).decode()
    for source in (f"data:image/png;base64,{text}", text):
        assert_same(ours(source, **options), theirs(source, **options))


def test_options_may_be_given_with_the_model(photos: list[str], pipelines: Any) -> None:
    _, theirs, folder = pipelines
    ours = lucid_mlx.pipeline("image-segmentation", model=folder, subtask="instance", threshold=0.02)
    assert_same(ours(photos[0]), theirs(photos[0], subtask="instance", threshold=0.02))


def test_what_its_image_processor_returns_goes_into_the_model(pipelines: Any, photos: list[str]) -> None:
    import torch

    _, theirs, folder = pipelines
    processor = AutoImageProcessor.from_pretrained(folder)
    with Image.open(photos[0]) as image:
        inputs = processor(image.convert("RGB"), return_tensors="np")
        tensors = processor(image.convert("RGB"), return_tensors="pt")
    model = lucid_mlx.load(folder)
    with torch.no_grad():
        expected = theirs.model(**tensors).class_queries_logits.numpy()
    for given in (inputs, tensors):
        assert set(given) == {"pixel_values", "pixel_mask"}
        got = np.array(model(**given)["class_queries_logits"])
        assert abs(got - expected).max() < 1e-4 * abs(expected).max()
        assert model.predict(**given).shape == (1, 256, 256)


def test_labels_of_its_image_processor_give_the_loss(pipelines: Any, photos: list[str]) -> None:
    _, _, folder = pipelines
    processor = AutoImageProcessor.from_pretrained(folder)
    labels = np.zeros((240, 320), np.uint8)
    labels[:, 100:] = 3
    with Image.open(photos[0]) as image:
        inputs = processor(image.convert("RGB"), segmentation_maps=labels, return_tensors="np")
    assert {"mask_labels", "class_labels"} <= set(inputs)
    assert lucid_mlx.load(folder)(**inputs)["loss"].item() > 0


def test_an_image_processor_of_transformers_is_taken(pipelines: Any, photos: list[str]) -> None:
    _, theirs, folder = pipelines
    processor = Mask2FormerImageProcessor(size={"height": 128, "width": 160}, size_divisor=32, ignore_index=255)
    mine = lucid_mlx.pipeline("image-segmentation", folder, image_processor=processor)
    their = pipeline("image-segmentation", model=theirs.model, image_processor=processor)
    assert_same(mine(photos[0], subtask="semantic"), their(photos[0], subtask="semantic"))
