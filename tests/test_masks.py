"""Masks stay small until a crop makes pixels of them, and the pixels are those of the whole masks."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labeled import write_image
from PIL import Image
from pycocotools import mask as coco_mask

from lucid_mlx.data import Target, coco_dataset, validate
from lucid_mlx.data.coco import InstancesRecord, PanopticRecord
from lucid_mlx.data.coco_annotations import Annotation
from lucid_mlx.data.coco_masks import encode, read_segmentation
from lucid_mlx.data.masks import LabelMasks, RunMasks, count_labels
from lucid_mlx.data.orientation import turn_labels
from lucid_mlx.evaluation import InstanceMetrics
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.results.segmentation import Segmentation
from lucid_mlx.training import LargeScaleJitter, Loader, ResizeAndCrop
from lucid_mlx.training import augment as augment_module
from lucid_mlx.training.augment import Sample

MB = 1 << 20


def polygons(count, height, width, seed):
    rng = np.random.default_rng(seed)
    centers = rng.random((count, 1, 2)) * [width, height]
    return [x.ravel().tolist() for x in centers + rng.normal(0, 0.3, (count, 6, 2)) * [width, height]]


def whole_masks(outlines, size):
    """All masks as COCO's code makes them."""
    rles = coco_mask.frPyObjects(outlines, *size)
    return coco_mask.decode(rles).transpose(2, 0, 1).astype(bool)


def run_masks(outlines, size, exif=1):
    runs = []
    for outline in outlines:
        found, _ = read_segmentation([outline], size)
        runs.append([size[0] * size[1]] if found is None else encode(found, size))
    return RunMasks(runs, size, exif)


@given(st.integers(5, 40), st.integers(5, 40), st.integers(0, 10_000), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_pixels_of_a_part_are_those_of_the_whole(height, width, seed, exif):
    outlines = polygons(4, height, width, seed)
    expected = np.array([turn_labels(mask, exif) for mask in whole_masks(outlines, (height, width))])
    masks = run_masks(outlines, (height, width), exif)
    assert masks.shape == expected.shape
    assert np.array_equal(masks, expected)
    assert np.array_equal(masks.counts(), expected.sum(axis=(1, 2)))
    assert all(np.array_equal(coco_mask.decode(masks.rle(n)), mask) for n, mask in enumerate(expected))
    assert all(np.array_equal(mask, whole) for mask, whole in zip(masks, expected, strict=True))
    rng = np.random.default_rng(seed)
    rows, columns = (np.sort(rng.integers(0, side, 7)) for side in expected.shape[1:])
    for each in (columns, columns[::-1]):
        out = np.zeros((4, 7, 7), bool)
        masks.fill(out, rows, each)
        assert np.array_equal(out, expected[:, rows][..., each])


def test_a_map_gives_the_masks_of_its_labels():
    labels = np.random.default_rng(0).integers(0, 9, (13, 17)).astype(np.int32)
    masks = LabelMasks(labels, [3, 8, 20])
    expected = labels == np.array([3, 8, 20])[:, None, None]
    assert np.array_equal(masks, expected)
    assert np.array_equal(masks.counts(), expected.sum(axis=(1, 2)))
    values, counts = np.unique(labels, return_counts=True)
    assert count_labels(labels) == dict(zip(values.tolist(), counts.tolist(), strict=True))


def plain_crop(image, target, flip, size, offset, crop_size, color_rng):
    """Mirror, resize and crop whole masks, one step after the other."""
    masks = whole = np.asarray(target.masks)
    if flip:
        image, masks = image[:, ::-1], whole[..., ::-1]
    rows, columns = augment_module._source_indices(image.shape, size, offset, crop_size)
    cropped = masks[:, rows][..., columns]
    kept = cropped.any(axis=(1, 2)) & ~target.crowd
    padded = np.zeros((kept.sum(), *crop_size), bool)
    padded[:, : len(rows), : len(columns)] = cropped[kept]
    pixels = original_crop(np.ascontiguousarray(image), target, False, size, offset, crop_size, color_rng).pixels
    return Sample(pixels, padded, target.class_ids[kept])


original_crop = augment_module._resize_and_crop


@pytest.mark.parametrize(
    "augment",
    [
        LargeScaleJitter(40),
        LargeScaleJitter(40, 1.5, 3.0),
        ResizeAndCrop((30, 50), 90, (24, 24)),
        ResizeAndCrop((30, 50), 90, (24, 24), single_category_max_area=0.6),
    ],
)
@pytest.mark.parametrize("seed", range(12))
def test_samples_are_those_of_whole_masks(augment, seed, monkeypatch):
    size = (37, 53)
    outlines = polygons(6, *size, seed)
    crowd = np.arange(6) == 4
    packed = Target(run_masks(outlines, size), np.arange(6, dtype=np.int32), crowd, np.ones(6), np.arange(6))
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    ours = augment(image, packed, np.random.default_rng(seed))
    monkeypatch.setattr(augment_module, "_resize_and_crop", plain_crop)
    theirs = augment(image, packed._replace(masks=whole_masks(outlines, size)), np.random.default_rng(seed))
    assert np.array_equal(ours.pixels, theirs.pixels)
    assert np.array_equal(ours.masks, theirs.masks)
    assert np.array_equal(ours.class_ids, theirs.class_ids)


def peak(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / MB


def test_hundreds_of_objects_of_a_large_photo_take_little_memory(tmp_path):
    size, rng = (1500, 2000), np.random.default_rng(0)
    squares = (rng.random((300, 1, 2)) * [1970, 1470] + [[0, 0], [20, 0], [20, 20], [0, 20]]).reshape(300, 8)
    annotations = tuple(Annotation(n, 0, False, None, [square]) for n, square in enumerate(squares))
    record = InstancesRecord(tmp_path / "a.png", size, 1, annotations)
    image = np.zeros((*size, 3), np.uint8)
    assert peak(lambda: record.target().counts()) < 10  # of 858 MB
    small = LargeScaleJitter(128, 1.0, 1.0)
    assert peak(lambda: small(image, record.target(), np.random.default_rng(0))) < 40
    assert peak(lambda: record.target().class_map()) < 30


def test_hundreds_of_segments_are_one_map(tmp_path):
    size = (600, 800)
    ids = np.arange(300).reshape(15, 20).repeat(40, 0).repeat(40, 1).astype(np.int32) + 1
    colors = np.stack([ids & 255, ids >> 8, ids * 0], axis=-1).astype(np.uint8)
    path = write_image(tmp_path / "a.png", size)
    Image.fromarray(colors).save(path)
    annotations = tuple(Annotation(n, 0, False, None) for n in range(1, 301))
    record = PanopticRecord(path, size, 1, annotations, path)
    assert peak(lambda: record.target().counts()) < 15  # of 137 MB
    assert np.array_equal(record.target().areas, np.full(300, 1600))


def test_check_batch_and_ground_truth_of_large_photos_take_little_memory(tmp_path):
    size = (1500, 2000)
    square = np.array([0, 0, 20, 0, 20, 20, 0, 20])
    corners = np.random.default_rng(0).integers(0, 1400, (300, 2))
    raw = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": size[0], "width": size[1]} for n in range(2)],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [
            {"id": n, "image_id": n % 2, "category_id": 1, "segmentation": [(square + np.tile(corner, 4)).tolist()]}
            for n, corner in enumerate(np.repeat(corners, 2, axis=0))
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(raw))
    for n in range(2):
        Image.new("RGB", size[::-1], "white").save(tmp_path / f"{n}.jpg")
    dataset = coco_dataset(tmp_path, tmp_path / "a.json")
    assert peak(lambda: validate(dataset)) < 120  # of 1716 MB
    loader = Loader(dataset, LargeScaleJitter(128, 1.0, 1.0), batch_size=2, image_config=ImageConfig())
    assert peak(lambda: next(loader.batches())) < 80

    def ground_truth():
        metrics = InstanceMetrics(dataset, {0: 0})
        result = Segmentation.from_semantic(np.zeros((*size, 3), np.uint8), np.zeros(size, np.int32), {0: "cell"})
        metrics.update(result, dataset.records[0].target())

    assert peak(ground_truth) < 80
