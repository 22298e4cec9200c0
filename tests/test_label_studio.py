"""Label Studio's JSON: polygons, brushes and other regions become objects."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from labeled import write_image

from lucid_mlx import InputError
from lucid_mlx.data import open_dataset
from lucid_mlx.data.label_studio import decode_brush

INSIDE = [[1, 2], [1, 3], [2, 2], [2, 3]]
SQUARE = {"points": [[100 / 3, 25], [200 / 3, 25], [200 / 3, 75], [100 / 3, 75]], "polygonlabels": ["boat"]}
# What mask2rle of label_studio_sdk 2 returns for a mask of 4x6 pixels with the four of INSIDE.
BRUSH = [0, 0, 0, 96, 57, 27, 254, 31, 0, 159, 254, 248, 4, 255, 248, 124, 0]


def region(value, id_="r", **more):
    return {"id": id_, "value": value, "original_height": 4, "original_width": 6, "image_rotation": 0, **more}


def task(*regions, image="/data/upload/1/0123abcd-a.png", **more):
    return {"id": 5, "data": {"image": image}, "annotations": [{"id": 1, "result": list(regions)}], **more}


def opened(tmp_path, *tasks, **options):
    write_image(tmp_path / "photos" / "a.png")
    (tmp_path / "export.json").write_text(json.dumps(list(tasks)))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dataset = open_dataset(tmp_path / "photos", tmp_path / "export.json", **options)
    return dataset, [str(one.message).partition("export.json: ")[2] for one in told]


@pytest.mark.parametrize(
    "value",
    [
        SQUARE,
        {"format": "rle", "rle": BRUSH, "brushlabels": ["boat"]},
        {"x": 100 / 3, "y": 25, "width": 100 / 3, "height": 50, "rotation": 0, "rectanglelabels": ["boat"]},
        {"x": 200 / 3, "y": 25, "width": 100 / 3, "height": 50, "rotation": 90, "rectanglelabels": ["boat"]},
        {"x": 50, "y": 50, "radiusX": 20, "radiusY": 30, "rotation": 0, "ellipselabels": ["boat"]},
    ],
)
def test_regions_become_objects(tmp_path, value):
    dataset, told = opened(tmp_path, task(region(value)))
    assert (dataset.task, dataset.class_names) == ("instance", ("boat",))
    assert np.argwhere(dataset.records[0].target().masks[0]).tolist() == INSIDE
    assert [line.partition(" (")[0] for line in told] == (
        ["1 rectangle taken for an object with all its pixels"] if "width" in value else []
    )


def test_a_label_may_stand_apart_from_its_region(tmp_path):
    shape = {name: value for name, value in SQUARE.items() if name == "points"}
    parts = (region(shape), region({**shape, "labels": ["sea"]}), region({"choices": ["dark"]}, "c"))
    dataset, told = opened(tmp_path, task(parts[0], parts[1] | {"value": {"labels": ["sea"]}}, parts[2]))
    assert (dataset.class_names, told) == (("sea",), [])


def test_what_cannot_be_learned_is_counted(tmp_path):
    dataset, told = opened(
        tmp_path,
        task(
            region(SQUARE),
            region({"x": 1, "y": 1, "width": 0.5, "keypointlabels": ["boat"]}, "a"),
            region({**SQUARE, "polygonlabels": []}, "b"),
            region({"rle": BRUSH[:-4], "brushlabels": ["boat"]}, "c"),
            region(SQUARE, "d", image_rotation=90),
            region(SQUARE, "e", original_width=None),
            region({**SQUARE, "points": [[1, 1]]}, "f"),
        ),
        task(region(SQUARE), data={"text": "hello"}),
        task(annotations=[{"was_cancelled": True, "result": [region(SQUARE)]}]),
    )
    assert len(dataset.records) == len(dataset.records[0].target().masks) == 1
    assert [line.partition(" (")[0] for line in told] == [
        "1 region left out: a point, which outlines nothing",
        "1 region left out: without a label",
        "1 region left out: its brush is damaged",
        "1 region left out: drawn on a photo that was rotated by hand",
        "1 region left out: without the size of the photo",
        "1 region left out: a polygon of fewer than three corners",
        "1 task left out: without a photo",
        "1 task left out: without an annotation",
    ]


def test_of_several_annotations_the_first_is_taken_that_was_not_cancelled(tmp_path):
    results = [[region(SQUARE), region(SQUARE)], [region(SQUARE)], []]
    annotations = [{"was_cancelled": not index, "result": result} for index, result in enumerate(results)]
    dataset, told = opened(tmp_path, task(annotations=annotations))
    assert len(dataset.records[0].target().masks) == 1
    assert told == ["1 task with several annotations, of which the first is taken (task 5)"]


@pytest.mark.parametrize(
    "image", ["/data/local-files/?d=here/a.png", "s3://bucket/here/a.png", "http://x.org/a.png?sign=1", "a.png"]
)
def test_photos_are_found(tmp_path, image):
    dataset, _ = opened(tmp_path, task(region(SQUARE), image=image))
    assert dataset.records[0].path == tmp_path / "photos" / "a.png"


def test_other_exports_are_told(tmp_path):
    with pytest.raises(InputError, match=r"expected an export of Label Studio in the format JSON \(not JSON-MIN\)"):
        opened(tmp_path, {"image": "a.png", "label": []})
    write_image(tmp_path / "masks" / "task-1-annotation-2-by-3-tag-boat-0.png")
    with pytest.raises(InputError, match="do not say of which photo they are; export the project as JSON"):
        open_dataset(tmp_path / "photos", tmp_path / "masks")


def encoded(values):
    """Run lengths in which each run of one value has 16 bits for its length."""
    bits = f"{len(values):032b}{7:05b}" + f"{15:04b}" * 4
    start = 0
    while start < len(values):
        end = start
        while end < len(values) and values[end] == values[start]:
            end += 1
        bits += f"1{2:02b}{end - start - 1:016b}{values[start]:08b}"
        start = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@given(st.lists(st.integers(0, 255), min_size=4, max_size=40), st.integers(1, 4))
def test_brushes_are_decoded(opacity, height):
    width = len(opacity) // height
    opacity = opacity[: height * width]
    values = [x for one in opacity for x in (1, 2, 3, one)]
    assert np.array_equal(decode_brush(encoded(values), (height, width)), np.reshape(opacity, (height, width)))


@given(st.lists(st.integers(0, 255), max_size=40))
def test_damaged_brushes_are_none_or_of_the_right_size(data):
    found = decode_brush(data, (4, 6))
    assert found is None or found.shape == (4, 6)


def test_a_brush_of_another_size_is_damaged():
    assert decode_brush(BRUSH, (4, 6)) is not None
    for rle in (BRUSH[:8], ["x"], None, 7, [300], []):
        assert decode_brush(rle, (4, 6)) is None
    assert decode_brush(BRUSH, (6, 6)) is None
