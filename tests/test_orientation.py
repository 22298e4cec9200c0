"""Labels follow photos that EXIF turns, whether they are for the stored pixels or for those that a viewer shows."""

import warnings

import numpy as np
import pytest
from labeled import instances, panoptic, write_coco
from PIL import Image, ImageOps

from lucid_mlx import InputError
from lucid_mlx.data import coco_dataset
from lucid_mlx.data.orientation import read_header, turn_labels

TAG = 0x0112


def write_turned(path, labels, exif):
    """A photo whose stored pixels are white where the labels are not 0."""
    image = Image.fromarray(np.repeat((labels != 0).astype(np.uint8)[..., None] * 255, 3, axis=2))
    tags = Image.Exif()
    tags[TAG] = exif
    image.save(path, exif=tags)


def labels_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)


def rle(labels):
    flat = labels.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(labels.shape), "counts": runs if not flat[0] else [0, *runs]}


@pytest.mark.parametrize("exif", range(1, 9))
def test_labels_are_turned_as_pillow_turns_photos(tmp_path, exif):
    labels = labels_of((4, 6), exif)
    write_turned(tmp_path / "a.png", labels, exif)
    with Image.open(tmp_path / "a.png") as image:
        shown = np.asarray(ImageOps.exif_transpose(image))[..., 0] > 0
    assert np.array_equal(turn_labels(labels, exif), shown)
    header = read_header(tmp_path / "a.png")
    assert header is not None
    assert (header.size, header.exif, header.upright_size) == ((4, 6), exif, shown.shape)


@pytest.mark.parametrize("exif", range(2, 9))
@pytest.mark.parametrize("kind", ["stored", "upright"])
def test_photo_and_labels_are_in_register(tmp_path, exif, kind):
    stored = labels_of((4, 6), exif)
    labels = stored if kind == "stored" else np.ascontiguousarray(turn_labels(stored, exif))
    raw = instances()
    raw["images"][0] |= dict(zip(("height", "width"), labels.shape, strict=True))
    raw["annotations"] = [{"id": 1, "image_id": 7, "category_id": 9, "segmentation": rle(labels)}]
    images, annotations = write_coco(tmp_path, raw)
    write_turned(images / "a.png", stored, exif)
    sizes_tell = exif > 4
    with pytest.warns(UserWarning, match=f"labels for the {kind if sizes_tell else 'upright'} pixels"):
        (record,) = coco_dataset(images, annotations).records
    if not sizes_tell:
        (record,) = coco_dataset(images, annotations, orientation=kind).records
    target = record.target()
    assert np.array_equal(record.image()[..., 0] > 0, target.masks[0])
    assert np.array_equal(target.class_map() == 1, target.masks[0])
    rows, columns = np.arange(1, 3), np.arange(target.masks.shape[2])[::-1]
    crop = np.zeros((1, 2, len(columns)), bool)
    target.fill(crop, rows, columns)
    assert np.array_equal(crop[0], target.masks[0][1:3, ::-1])


def test_what_sizes_cannot_tell_is_as_for_the_other_photos(tmp_path):
    square, long = labels_of((6, 6), 1), labels_of((4, 6), 2)
    raw = instances()
    raw["images"] = [
        {"id": 1, "file_name": "a.png", "height": 6, "width": 6},
        {"id": 2, "file_name": "b.png", "height": 4, "width": 6},
    ]
    raw["annotations"] = [
        {"id": number, "image_id": number, "category_id": 9, "segmentation": rle(labels)}
        for number, labels in ((1, square), (2, long))
    ]
    images, annotations = write_coco(tmp_path, raw)
    for name, labels in (("a.png", square), ("b.png", long)):
        write_turned(images / name, labels, 6)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        records = coco_dataset(images, annotations).records
    assert all(np.array_equal(record.image()[..., 0] > 0, record.target().masks[0]) for record in records)
    texts = sorted(str(one.message) for one in told)
    assert "1 photo turned by EXIF, with labels for the stored pixels (by guess" in texts[0]
    assert 'orientation = "upright" takes the other' in texts[0]
    assert "1 photo turned by EXIF, with labels for the stored pixels (by their size)" in texts[1]


def test_the_setting_decides_even_where_the_file_has_another_size(tmp_path):
    stored = labels_of((4, 6))
    raw = instances()  # a tool that took the size of the stored pixels, and showed the photo upright
    raw["annotations"] = [{**raw["annotations"][0], "segmentation": [[0, 0, 2, 0, 2, 5, 0, 5]]}]
    images, annotations = write_coco(tmp_path, raw)
    write_turned(images / "a.png", stored, 6)
    (record,) = coco_dataset(images, annotations, orientation="upright").records
    assert record.target().masks.shape == (1, 6, 4)
    assert np.argwhere(record.target().masks[0]).max(axis=0).tolist() == [4, 1]
    with pytest.raises(InputError, match="orientation must be"):
        coco_dataset(images, annotations, orientation="left")


def test_panoptic_labels_are_turned_too(tmp_path):
    images, annotations = write_coco(tmp_path, panoptic())
    write_turned(images / "a.png", labels_of((4, 6)), 8)
    with pytest.warns(UserWarning, match="labels for the stored pixels"):
        (record,) = coco_dataset(images, annotations).records
    target = record.target()
    assert target.masks.shape == (3, 6, 4) == (3, *record.image().shape[:2])
    assert np.argwhere(target.masks[2]).tolist() == [[1, 2], [1, 3]]
