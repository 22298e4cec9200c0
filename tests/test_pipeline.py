"""`lucid_mlx.pipeline`; tests/parity compares what it returns with transformers."""

import base64
import io

import numpy as np
import pytest
from helpers import PHOTO, SCENES, write_huggingface
from PIL import Image

import lucid_mlx
from lucid_mlx import ImageConfig, InputError
from lucid_mlx.pipelines import ImageSegmentationPipeline


@pytest.fixture(scope="module")
def demo():
    return lucid_mlx.pipeline("image-segmentation", model=SCENES)


@pytest.fixture(scope="module")
def picture():
    with Image.open(PHOTO) as image:
        return image.convert("RGB").resize((96, 64))


def test_it_is_a_function_whatever_was_imported_first():
    import lucid_mlx.pipelines

    assert lucid_mlx.pipeline is lucid_mlx.pipelines.pipeline
    assert "pipeline" in dir(lucid_mlx)


def test_an_image_gives_a_list_of_scores_labels_and_masks(demo, picture):
    found = demo(picture, subtask="semantic")
    assert found
    covered = sum(np.asarray(each["mask"]) // 255 for each in found)
    assert (covered == 1).all()
    assert {each["label"] for each in found} <= set(demo.model.config.id2label.values())
    assert all(each["score"] is None and each["mask"].size == (96, 64) and each["mask"].mode == "L" for each in found)


def test_each_image_of_a_list_gets_what_it_gets_alone(demo, picture):
    pictures = [picture, picture.resize((50, 70)), picture.rotate(180), picture]
    alone = [demo(each, subtask="semantic") for each in pictures]
    for batch_size in (1, 3):
        together = demo(pictures, subtask="semantic", batch_size=batch_size)
        for one, other in zip(alone, together, strict=True):
            assert [(x["label"], x["score"]) for x in one] == [(x["label"], x["score"]) for x in other]
            differ = [(np.asarray(x["mask"]) != np.asarray(y["mask"])).mean() for x, y in zip(one, other, strict=True)]
            assert max(differ) < 1e-3


def test_a_generator_is_read_when_it_is_asked(demo, picture):
    read = []

    def pictures():
        for number in range(3):
            read.append(number)
            yield picture

    results = demo(pictures())
    assert read == []
    next(results)
    assert read == [0]
    assert len(list(results)) == 2


def test_a_dataset_gives_an_iterator(demo, picture):
    class Dataset:
        def __len__(self):
            return 2

        def __getitem__(self, number):
            if number >= 2:
                raise IndexError
            return picture

    results = demo(Dataset())
    assert not isinstance(results, list)
    assert len(list(results)) == 2


def test_texts_may_be_addresses_paths_or_base64(demo, picture, tmp_path):
    picture.save(tmp_path / "a.png")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    text = base64.b64encode(buffer.getvalue()).decode()
    expected = demo(picture, subtask="semantic")
    for source in (str(tmp_path / "a.png"), f"data:image/png;base64,{text}", text):
        assert demo(source, subtask="semantic") == expected


def test_thresholds_may_be_given_with_the_model_or_the_call(picture):
    lenient = lucid_mlx.pipeline("image-segmentation", model=SCENES, threshold=0.0, subtask="instance")
    strict = lenient(picture, threshold=1.0)
    assert len(lenient(picture)) > len(strict)


def test_its_own_image_configuration_counts_unless_one_is_given(tmp_path):
    folder = write_huggingface(tmp_path / "theirs")
    assert lucid_mlx.pipeline(model=folder).image_config.size == (64, 64)
    for processor in (ImageConfig(size=(32, 96)), {"size": {"height": 32, "width": 96}}):
        assert lucid_mlx.pipeline(model=folder, image_processor=processor).image_config.size == (32, 96)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "preprocessor_config.json").write_text('{"size": {"height": 32, "width": 96}}')
    assert lucid_mlx.pipeline(model=folder, image_processor=tmp_path / "p").image_config.size == (32, 96)


def test_it_never_pads_as_transformers_does_not():
    model = lucid_mlx.load(SCENES)
    pads = ImageConfig(size=None, shortest_edge=60, longest_edge=100, divisor_mode="pad")
    assert ImageSegmentationPipeline(model, pads).image_config.divisor_mode == "resize"


def test_a_device_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="device is ignored"):
        lucid_mlx.pipeline("image-segmentation", SCENES, device="mps")


def test_a_dtype_is_taken_by_its_name():
    import mlx.core as mx

    assert lucid_mlx.pipeline(model=SCENES).model.dtype == mx.float32
    assert lucid_mlx.pipeline(model=SCENES, dtype="auto").model.dtype == lucid_mlx.load(SCENES).dtype == mx.float16
    assert lucid_mlx.pipeline(model=SCENES, dtype="bfloat16").model.dtype == mx.bfloat16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda demo: lucid_mlx.pipeline("text-generation", "demo"), "the task must be 'image-segmentation'"),
        (lambda demo: lucid_mlx.pipeline("image-segmentation"), "name a model"),
        (lambda demo: lucid_mlx.pipeline(model=SCENES, treshold=0.5), "did you mean threshold"),
        (lambda demo: lucid_mlx.pipeline(model=SCENES, image_processor=3), "image_processor must be"),
        (lambda demo: lucid_mlx.pipeline(model=SCENES, batch_size=0), "batch_size must be at least 1"),
        (lambda demo: lucid_mlx.pipeline(model=demo.model, dtype="float16"), "dtype goes with the name"),
        (lambda demo: demo(), "takes an image"),
        (lambda demo: demo(PHOTO, subtask="panoptical"), "subtask must be one of"),
        (lambda demo: demo(PHOTO, threshold=2), "threshold must be at most 1"),
        (lambda demo: demo(PHOTO, timeout=3), "no argument 'timeout'"),
        (lambda demo: demo([PHOTO, "missing.jpg"]), "image 1: missing.jpg"),
        (lambda demo: demo("A" * 100), "image 0"),
        (lambda demo: demo(5), "image 0"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(demo, call, message):
    with pytest.raises(InputError, match=message) as error:
        call(demo)
    assert "\n" not in str(error.value)
