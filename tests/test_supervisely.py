"""Supervisely's projects: polygons with holes, bitmaps and rectangles become objects."""

import base64
import io
import json
import warnings
import zlib

import numpy as np
import pytest
from labeled import write_image
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import open_dataset


def encoded(mask):
    """A bitmap, as the documentation of Supervisely's format makes it."""
    data = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(data, "PNG", transparency=0, optimize=0)
    return base64.b64encode(zlib.compress(data.getvalue())).decode()


def polygon(exterior, *interior, label="boat"):
    return {"classTitle": label, "geometryType": "polygon", "points": {"exterior": exterior, "interior": interior}}


def bitmap(mask, origin, label="boat"):
    return {"classTitle": label, "geometryType": "bitmap", "bitmap": {"data": encoded(mask), "origin": origin}}


def write(project, *objects, classes=("sea", "boat", "kayak"), size=(6, 8)):
    write_image(project / "ds" / "img" / "a.png", size)
    (project / "ds" / "ann").mkdir(exist_ok=True)
    raw = {"description": "", "tags": [], "size": {"height": size[0], "width": size[1]}, "objects": list(objects)}
    (project / "ds" / "ann" / "a.png.json").write_text(json.dumps(raw))
    meta = {"classes": [{"title": name, "shape": "any", "color": "#FF0000"} for name in classes], "tags": []}
    (project / "meta.json").write_text(json.dumps(meta))


def opened(*folders, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dataset = open_dataset(*folders, **options)
    return dataset, [str(one.message).partition(": ")[2] for one in told]


def test_corners_and_outlines_belong_to_polygons_and_holes_are_cut_out(tmp_path):
    write(tmp_path, polygon([[1, 1], [6, 1], [6, 5], [1, 5]], [[2, 2], [5, 2], [5, 4], [2, 4]]))
    dataset, told = opened(tmp_path / "ds" / "img", tmp_path / "ds" / "ann")
    expected = np.zeros((6, 8), bool)
    expected[1:6, 1:7] = True
    expected[3, 3:5] = False
    assert np.array_equal(dataset.records[0].target().masks[0], expected)
    assert (dataset.class_names, told) == (("sea", "boat", "kayak"), [])


def test_bitmaps_lie_at_their_origin_and_are_cut_off_at_the_photo(tmp_path):
    mask = np.array([[1, 0, 1], [1, 1, 1]], bool)
    write(tmp_path, bitmap(mask, [2, 1]), bitmap(mask, [6, 5], "sea"))
    dataset, _ = opened(tmp_path / "ds" / "img", tmp_path / "ds" / "ann")
    target = dataset.records[0].target()
    assert np.argwhere(target.masks[0]).tolist() == [[1, 2], [1, 4], [2, 2], [2, 3], [2, 4]]
    assert np.argwhere(target.masks[1]).tolist() == [[5, 6]]
    assert target.class_ids.tolist() == [1, 0]


def test_a_rectangle_has_the_pixels_of_both_corners_and_others_are_counted(tmp_path):
    box = {"classTitle": "boat", "geometryType": "rectangle", "points": {"exterior": [[4, 3], [2, 1]], "interior": []}}
    write(
        tmp_path,
        box,
        box | {"geometryType": "point"},
        box | {"geometryType": "line"},
        box | {"classTitle": None},
        box | {"points": {"exterior": [[1, 2]]}},
        bitmap(np.ones((1, 1)), [0, 0]) | {"bitmap": {"data": "xyz", "origin": [0, 0]}},
        bitmap(np.ones((1, 1)), [0, 0]) | {"bitmap": {"data": encoded(np.ones((1, 1)))}},
        polygon([[0, 0], [1, 1]]),
    )
    dataset, told = opened(tmp_path / "ds" / "img", tmp_path / "ds" / "ann")
    (mask,) = dataset.records[0].target().masks
    assert mask[1:4, 2:5].all()
    assert mask.sum() == 9
    assert [line.partition(" (")[0] for line in told] == [
        "1 rectangle taken for an object with all its pixels",
        "1 object left out: of the geometry 'point', which outlines nothing that is known",
        "1 object left out: of the geometry 'line', which outlines nothing that is known",
        "1 object left out: without a classTitle",
        "1 object left out: a rectangle that has not two corners",
        "1 object left out: its bitmap is damaged",
        "1 object left out: a bitmap without an origin",
        "1 object left out: a polygon of fewer than three corners",
    ]


def test_the_project_may_be_given_whole(tmp_path):
    write(tmp_path, polygon([[1, 1], [6, 1], [6, 5]]))
    dataset, told = opened(tmp_path, tmp_path)
    assert dataset.records[0].path == tmp_path / "ds" / "img" / "a.png"
    assert told == []


def test_a_size_that_is_not_the_photos_is_an_error(tmp_path):
    write(tmp_path, polygon([[1, 1], [6, 1], [6, 5]]))
    write_image(tmp_path / "ds" / "img" / "a.png", (12, 16))
    with pytest.raises(InputError, match="is 16x12 pixels, the file says 8x6"):
        open_dataset(tmp_path / "ds" / "img", tmp_path / "ds" / "ann")
