"""Labelme's folders: shapes become objects; what is missing, odd or of no use is counted and told."""

import base64
import io
import json
import re
import warnings

import numpy as np
import pytest
from helpers import SCENE, SCENES, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from labeled import write_image
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import open_dataset
from lucid_mlx.training.config import DatasetConfig

SQUARE = [[2, 1], [4, 1], [4, 3], [2, 3]]
INSIDE = [[1, 2], [1, 3], [2, 2], [2, 3]]


def shape(label="boat", points=SQUARE, kind="polygon", **more):
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, "mask": None, **more}


def write(path, *shapes, size=(4, 6), **more):
    """A JSON file as labelme 5 writes it, and its photo unless `imagePath` is given."""
    if "imagePath" not in more:
        write_image(path.with_suffix(".png"), size)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = {
        "version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": f"{path.stem}.png", "imageData": None,
        "imageHeight": size[0], "imageWidth": size[1], **more,
    }  # fmt: skip
    path.write_text(json.dumps(raw))
    return path


def opened(images, labels=None, **options):
    """The dataset, and the warnings without the name of the folder."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dataset = open_dataset(images, labels or images, **options)
    return dataset, [str(one.message).partition(": ")[2] for one in told]


def mask_of(tmp_path, *shapes, **more):
    write(tmp_path / "a.json", *shapes, **more)
    dataset, told = opened(tmp_path)
    return dataset.records[0].target().masks, told


def png(mask):
    data = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def test_polygons_become_objects_and_labels_classes(tmp_path):
    write(tmp_path / "a.json", shape(), shape("sea", [[0, 3], [6, 3], [6, 4], [0, 4]]))
    write(tmp_path / "b.json")
    dataset, told = opened(tmp_path)
    assert (dataset.task, dataset.class_names, told) == ("instance", ("boat", "sea"), [])
    first, second = (record.target() for record in dataset.records)
    assert np.argwhere(first.masks[0]).tolist() == INSIDE
    assert first.masks[1].sum() == 6
    assert first.class_ids.tolist() == [0, 1]
    assert len(second.masks) == 0
    with pytest.warns(UserWarning, match="1 of 2 images have no annotation"):
        assert len(open_dataset(tmp_path, tmp_path, skip_unlabeled=True).records) == 1


def test_other_shapes_are_converted_or_counted(tmp_path):
    bitmap = np.array([[1, 0], [1, 1]], bool)
    masks, told = mask_of(
        tmp_path,
        shape(points=[[4, 3], [2, 1]], kind="rectangle"),
        shape(points=SQUARE, kind="oriented_rectangle"),
        shape(points=[[3, 2], [3, 4]], kind="circle"),
        shape(points=[[4, 1], [5, 2]], kind="mask", mask=png(bitmap)),
        shape(points=[[1, 1]], kind="point"),
        shape(points=[[1, 1], [2, 2]], kind="line"),
        shape(points=[[1, 1], [2, 2], [3, 3]], kind="linestrip"),
        shape(points=[[1, 1], [2, 2]]),
        shape(points=[[1, "x"], [2, 2], [3, 3]]),
        shape(kind="mask", points=[[0, 0], [1, 1]], mask="no PNG"),
        shape(kind="star"),
        shape(kind="circle"),
        shape(label=None),
    )
    assert [mask.sum() for mask in masks] == [4, 4, 12, 3]
    assert np.argwhere(masks[0]).tolist() == INSIDE
    assert np.argwhere(masks[3]).tolist() == [[1, 4], [2, 4], [2, 5]]
    assert [line.partition(" (")[0] for line in told] == [
        "1 rectangle taken for an object with all its pixels",
        "1 shape left out: a point, which outlines nothing",
        "1 shape left out: a line, which outlines nothing",
        "1 shape left out: a linestrip, which outlines nothing",
        "1 shape left out: a polygon of fewer than three corners",
        "1 shape left out: its points are no numbers",
        "1 shape left out: its mask is damaged",
        "1 shape left out: of the type 'star', which is not known",
        "1 shape left out: a circle that has not two points",
        "1 shape left out: without a label",
    ]


@pytest.mark.parametrize(("left", "top", "count"), [(-1, -1, 1), (5, 3, 1), (9, 9, 0), (-9, 0, 0)])
def test_masks_are_cut_off_at_the_photo(tmp_path, left, top, count):
    full = shape(kind="mask", points=[[left, top], [left + 1, top + 1]], mask=png(np.ones((2, 2), bool)))
    masks, _ = mask_of(tmp_path, shape("sea"), full)
    assert [mask.sum() for mask in masks] == [4, 1][: 1 + count]


def test_a_large_mask_outside_of_the_photo_is_left_out(tmp_path):
    far = shape(kind="mask", points=[[9, 1], [38, 20]], mask=png(np.ones((20, 30), bool)))
    masks, told = mask_of(tmp_path, shape("sea"), far)
    assert len(masks) == 1
    assert told == ["1 annotation left out: without a pixel ('object 1 of a.json')"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("rectangle"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["label", "x", "y"]), inner),
    max_leaves=6,
)
COORDINATES = st.floats(-1e12, 1e12) | st.integers(-9, 9)
KINDS = ["polygon", "rectangle", "circle", "mask", "oriented_rectangle", "line", "star"]
SHAPES = st.builds(
    shape,
    points=st.lists(st.tuples(COORDINATES, COORDINATES), max_size=5) | JSON,
    kind=st.sampled_from(KINDS) | JSON,
    group_id=st.sampled_from([None, 1]) | JSON,
    mask=st.sampled_from([png(np.ones((20, 30), bool)), "", None]) | JSON,
    flags=JSON,
)


@given(st.lists(SHAPES | JSON, max_size=4), JSON, JSON)
@settings(max_examples=100)
def test_any_shape_is_read_or_told(tmp_path_factory, shapes, height, flags):
    folder = tmp_path_factory.mktemp("any")
    write(folder / "a.json", shape("sea"), *shapes, imageHeight=height, flags=flags)
    try:
        dataset, _ = opened(folder)
    except InputError:
        return
    target = dataset.records[0].target()
    assert target.masks.shape[1:] == (4, 6)
    assert (target.counts() > 0).all()


def test_a_photo_of_a_size_that_no_memory_holds_is_told(tmp_path):
    write(tmp_path / "a.json", shape(kind="mask", mask=png(np.ones((1, 1), bool))), imageHeight=10**6, imageWidth=10**6)
    with pytest.raises(InputError, match="a.json"):
        open_dataset(tmp_path, tmp_path)


def test_shapes_of_one_group_are_one_object(tmp_path):
    other = [[0, 0], [1, 0], [1, 1], [0, 1]]
    bitmap = shape(kind="mask", points=[[5, 3], [5, 3]], mask=png(np.ones((1, 1), bool)), group_id=1)
    masks, told = mask_of(
        tmp_path, shape(group_id=1), shape(points=other, group_id=1), shape("sea", points=other, group_id=1)
    )
    assert ([mask.sum() for mask in masks], told) == ([5, 1], [])
    masks, told = mask_of(tmp_path, shape(group_id=1), bitmap, shape(points=other))
    assert ([mask.sum() for mask in masks], told) == ([5, 1], [])


def test_labels_that_differ_by_case_or_spaces_are_one_class(tmp_path):
    write(tmp_path / "a.json", shape("boat"), shape("Boat "), shape("boat"))
    dataset, told = opened(tmp_path)
    assert dataset.class_names == ("boat",)
    assert told == ["1 object taken for one of a class that is written otherwise (Boat  is boat)"]


def test_names_choose_the_classes_and_their_order(tmp_path):
    write(tmp_path / "photos" / "a.json", shape("sea"), shape("boat"), shape("Buoy"))
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nsea\nkayak\nbuoy\n")
    dataset, told = opened(tmp_path / "photos", class_names=tmp_path / "labels.txt")
    assert dataset.class_names == ("sea", "kayak", "buoy")
    assert dataset.records[0].target().class_ids.tolist() == [0, 2]
    assert told == [
        "1 object taken for one of a class that is written otherwise (Buoy is buoy)",
        "1 object left out: of a class that the names do not have (boat)",
    ]


def test_flags_are_told(tmp_path):
    _, told = mask_of(tmp_path, shape(flags={"difficult": True, "cut": False}), flags={"blurred": True})
    assert told == [
        "1 shape with flags, which are not used (shape 0 of a.json: difficult)",
        "1 photo with flags, which are not used (a.png: blurred)",
    ]


class TestPhotos:
    @pytest.mark.parametrize("path", ["a.png", "..\\photos\\a.png", "../photos/a.png"])
    def test_they_are_found_from_the_json_file(self, tmp_path, path):
        write_image(tmp_path / "photos" / "a.png")
        write(tmp_path / "labels" / "a.json", shape(), imagePath=path)
        dataset, told = opened(tmp_path / "photos", tmp_path / "labels")
        assert dataset.records[0].path == tmp_path / "photos" / "a.png"
        assert told == []

    @pytest.mark.parametrize("path", ["C:\\Users\\me\\a.png", "../../elsewhere/a.png", "A.PNG", "a.jpg"])
    def test_they_are_found_by_name(self, tmp_path, path):
        write_image(tmp_path / "a.png")
        write(tmp_path / "a.json", shape(), imagePath=path)
        dataset, told = opened(tmp_path)
        assert dataset.records[0].path == tmp_path / "a.png"
        assert [line.partition(" (")[0] for line in told] == ["1 image found under another name"]

    def test_two_folders_may_have_photos_of_one_name(self, tmp_path):
        for folder, points in (("x", SQUARE), ("y", SQUARE[1:])):
            write_image(tmp_path / "photos" / folder / "a.png")
            write(tmp_path / "labels" / folder / "a.json", shape(points=points), imagePath="a.png")
        dataset, _ = opened(tmp_path / "photos", tmp_path / "labels")
        assert [record.path.parent.name for record in dataset.records] == ["x", "y"]

    def test_missing_ones_are_left_out_and_those_without_labels_told(self, tmp_path):
        write(tmp_path / "a.json", shape())
        write(tmp_path / "b.json", shape(), imagePath="gone.png")
        write_image(tmp_path / "c.png")
        dataset, told = opened(tmp_path)
        assert [record.path.name for record in dataset.records] == ["a.png"]
        assert [line.partition(", as")[0] for line in told] == ["1 image left out", "1 photo not used"]
        (tmp_path / "a.png").unlink()
        (tmp_path / "c.png").unlink()
        with pytest.raises(InputError, match=r"a.png does not exist"):
            open_dataset(tmp_path, tmp_path)

    def test_those_in_the_labels_are_read_if_their_file_is_missing(self, tmp_path):
        photo = write_image(tmp_path / "a.png")
        data = base64.b64encode(photo.read_bytes()).decode()
        pixels = np.asarray(Image.open(photo))
        (tmp_path / "labels").mkdir()
        (tmp_path / "photos").mkdir()
        write(tmp_path / "labels" / "a.json", shape(), imagePath="a.png", imageData=data)
        write(tmp_path / "labels" / "b.json", shape(), imagePath="b.png", imageData="bm8gaW1hZ2U=")
        dataset, told = opened(tmp_path / "photos", tmp_path / "labels")
        assert told == ["2 photos read from imageData in the labels, as its file is missing (a.png, b.png)"]
        assert np.array_equal(dataset.records[0].image(), pixels)
        assert np.argwhere(dataset.records[0].target().masks[0]).tolist() == INSIDE
        with pytest.raises(InputError, match=r"b.json: its imageData is no image"):
            dataset.records[1].image()

    def test_a_file_in_another_place_is_taken_before_the_photo_in_the_labels(self, tmp_path):
        write_image(tmp_path / "photos" / "x" / "a.png")
        write(tmp_path / "labels" / "a.json", shape(), imagePath="elsewhere/a.png", imageData="bm8gaW1hZ2U=")
        dataset, told = opened(tmp_path / "photos", tmp_path / "labels")
        assert dataset.records[0].image().shape == (4, 6, 3)
        assert [line.partition(" (")[0] for line in told] == ["1 image found under another name"]

    def test_those_of_another_size_than_the_labels_are_an_error(self, tmp_path):
        write(tmp_path / "a.json", shape(), imageHeight=8, imageWidth=12)
        with pytest.raises(InputError, match="is 6x4 pixels, the file says 12x8: labels for other pixels"):
            open_dataset(tmp_path, tmp_path)

    def test_the_size_may_be_missing(self, tmp_path):
        masks, told = mask_of(tmp_path, shape(), imageHeight=None)
        assert (masks.shape, told) == ((1, 4, 6), [])

    def test_labels_are_for_the_upright_pixels_of_photos_that_exif_turns(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (4, 6)).save(tmp_path / "a.jpg", exif=exif)
        masks, told = mask_of(tmp_path, shape(), imagePath="a.jpg")
        assert told == ["1 photo turned by EXIF, with labels for the upright pixels (by their size) (a.jpg)"]
        assert np.argwhere(masks[0]).tolist() == INSIDE


def test_what_is_left_out_is_in_the_error_if_nothing_is_left(tmp_path):
    write(tmp_path / "a.json", shape(points=[[1, 1]], kind="point"))
    with pytest.raises(InputError, match="none of its objects can be used\n  1 shape left out: a point"):
        open_dataset(tmp_path, tmp_path)


def test_damaged_and_foreign_files_are_told(tmp_path):
    write(tmp_path / "a.json", shape())
    (tmp_path / "settings.json").write_text("{}")
    _, told = opened(tmp_path)
    assert told == ["1 file left out: without shapes or imagePath, which labelme writes (settings.json)"]
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError, match=r"b.json is not JSON"):
        open_dataset(tmp_path, tmp_path)


def test_a_split_chooses_photos(tmp_path):
    write(tmp_path / "a.json", shape())
    write(tmp_path / "b.json", shape())
    dataset, told = opened(tmp_path, split=["b"])
    assert ([record.path.stem for record in dataset.records], told) == (["b"], [])


def test_label_maps_beside_the_json_files_are_taken_if_names_are_given(tmp_path):
    write_image(tmp_path / "a.jpg")
    write(tmp_path / "a.json", shape(), imagePath="a.jpg")
    assert opened(tmp_path)[0].task == "instance"
    assert opened(tmp_path, class_names=["boat"])[0].task == "instance"
    Image.fromarray(np.eye(4, 6, dtype=np.uint8)).save(tmp_path / "a.png")
    assert opened(tmp_path, class_names=["sea", "boat"])[0].task == "semantic"


def test_settings_of_label_maps_are_refused(tmp_path):
    write(tmp_path / "a.json", shape())
    with pytest.raises(InputError, match="`ignore_index` cannot be used with labels of these tools"):
        open_dataset(tmp_path, tmp_path, ignore_index=0)
    with pytest.raises(InputError, match="stuff must be a list of names"):
        open_dataset(tmp_path, tmp_path, stuff="sea")


def test_training_and_eval_take_them(tmp_path):
    (tmp_path / "labels").mkdir()
    run_cli("segment", SCENE, "--weights", SCENES, "-o", tmp_path / "labels", "--format", "labelme")
    config = DatasetConfig(str(SCENES), str(tmp_path / "labels"), stuff=("grass",))
    assert config.open().task == "panoptic"
    output = run_cli(
        "eval", "--weights", SCENES, "--images", SCENES, "--annotations", tmp_path / "labels", "--stuff", "grass"
    ).output
    assert re.search(r"PQ +100\.00", output)


class TestStuff:
    def dataset(self, tmp_path, **options):
        low = [[0, 1], [6, 1], [6, 4], [0, 4]]
        write(
            tmp_path / "a.json", shape(), shape("sea", low), shape("sea", [[0, 0], [6, 0], [6, 1]]), shape("sky", low)
        )
        return open_dataset(tmp_path, tmp_path, **options)

    def test_it_lies_below_things_and_is_one_segment(self, tmp_path):
        dataset = self.dataset(tmp_path, stuff=["sea"])
        assert (dataset.task, dataset.class_names, dataset.thing_ids) == ("panoptic", ("boat", "sea", "sky"), {0, 2})
        target = dataset.records[0].target()
        assert target.class_ids.tolist() == [1, 2]  # the sky, a thing, lies over the boat
        assert target.left_out == (("covered by others", "object 0 of a.json"),)

    def test_the_order_of_the_file_counts_among_stuff(self, tmp_path):
        target = self.dataset(tmp_path, stuff=["sea", "sky"]).records[0].target()
        assert target.class_ids.tolist() == [0, 1, 2]
        assert np.argwhere(target.masks[0]).tolist() == INSIDE
        assert target.areas.tolist() == target.counts().tolist() == [4, 3, 14]
        assert set(np.unique(target.class_map())) == {-1, 0, 1, 2}
        assert np.asarray(target.masks).sum(axis=0).max() == 1

    def test_without_things_the_task_is_semantic(self, tmp_path):
        assert self.dataset(tmp_path, stuff=["sea", "sky", "boat"]).task == "semantic"

    def test_an_unknown_class_is_told(self, tmp_path):
        with pytest.raises(InputError, match="`stuff` has road; the classes are boat, sea, sky"):
            self.dataset(tmp_path, stuff=["road"])
