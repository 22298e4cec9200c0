"""Pictures that are segmented tile by tile, by a stand-in for the network that answers with the truth."""

from itertools import pairwise

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_model

from lucid_mlx import InputError, Segmenter, Thresholds, segment_tiled
from lucid_mlx.compiled import LOGITS, STATES
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.results.packed_mask import pack_crop, unpack
from lucid_mlx.tiles import spans

TILE, OVERLAP = 128, 32
THINGS = (1, 2)  # of the five classes; 0 and 3 are stuff, 4 does not occur
# (class, top, left, bottom, right) of objects: across a seam, across four tiles, along the whole picture, inside, at an
# edge, and pairs of a class that touch.
OBJECTS = [
    (1, 60, 20, 140, 90), (2, 80, 92, 220, 200), (1, 4, 100, 24, 396), (1, 24, 100, 44, 396), (2, 230, 220, 250, 236),
    (1, 160, 280, 290, 340), (2, 160, 340, 290, 398), (1, 250, 0, 299, 120),
]  # fmt: skip
SIZE = (300, 400)


@pytest.fixture(scope="module")
def truth():
    """The class and the object of each pixel, and a photo that shows them: red is the class, green the object."""
    classes, objects = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    classes[:, 200:] = 3
    for number, (label, top, left, bottom, right) in enumerate(OBJECTS, 1):
        classes[top:bottom, left:right], objects[top:bottom, left:right] = label, number
    return classes, objects, np.stack([50 * classes, 10 * objects, np.zeros_like(classes)], axis=-1)


class Truth:
    """Answers as a network would that makes no mistake: each segment of the input has a query, in another order."""

    def __init__(self, stride=1):
        self.sizes, self.stride, self.random = [], stride, np.random.default_rng(0)

    def __call__(self, pixels):
        self.sizes.append(pixels.shape[1:3])
        answers = [self.answer(np.rint(np.array(image) * 255).astype(int)) for image in pixels]
        outputs = dict(zip(LOGITS, (mx.array(np.stack(each)) for each in zip(*answers, strict=True)), strict=True))
        return {**outputs, STATES: [mx.zeros((len(answers), 20, 4))]}, False

    def answer(self, image):
        image = image[self.stride // 2 :: self.stride, self.stride // 2 :: self.stride]
        keys = image[..., 0] // 50 + 5 * (image[..., 1] // 10)
        found = self.random.permutation(np.unique(keys))
        classes = np.full((20, 6), -20, np.float32)
        masks = np.full((20, *keys.shape), -20, np.float32)
        for query in range(20):
            classes[query, found[query] % 5 if query < len(found) else 5] = 20
            if query < len(found):
                masks[query][keys == found[query]] = 20
        return classes, masks


@pytest.fixture
def segmenter(monkeypatch, request):
    """A function that returns a segmenter for a task, whose network is the truth."""

    def make(task, stride=1):
        config = ImageConfig(size=None, size_divisor=1, mean=(0, 0, 0), std=(1, 1, 1))
        made = Segmenter(small_model(num_queries=20), task, image_config=config, thing_ids=THINGS)
        made.network = Truth(stride)
        monkeypatch.setattr(made.inference, "compute", made.network)
        return made

    return make


def found_objects(result):
    """The class and the mask of each segment that is an object."""
    return [(each.label_id, result.mask(each)) for each in result.segments if each.label_id in THINGS]


@pytest.mark.parametrize("task", ["instance", "panoptic"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_no_segment_is_cut_at_the_edge_of_a_tile(segmenter, truth, task, batch_size):
    _, objects, photo = truth
    made = segmenter(task)
    result = segment_tiled(made, photo, tile=TILE, overlap=OVERLAP, batch_size=batch_size)
    assert set(made.network.sizes) == {(TILE, TILE)}
    found = found_objects(result)
    assert len(found) == len(OBJECTS)
    for number, (label, *_) in enumerate(OBJECTS, 1):
        assert any(label == other and np.array_equal(objects == number, mask) for other, mask in found)
    for segment in result.segments:
        rows, columns = np.nonzero(result.mask(segment))
        assert segment.area == len(rows)
        assert segment.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_tiles_give_what_the_whole_picture_gives(segmenter, truth, task):
    _, _, photo = truth
    whole = segmenter(task)(photo)
    tiled = segment_tiled(segmenter(task), photo, tile=TILE, overlap=OVERLAP)
    ours, theirs = (sorted((s.label_id, s.area, s.box, s.label) for s in result.segments) for result in (tiled, whole))
    assert ours == theirs
    assert (tiled.task, tiled.labels, tiled.thresholds) == (whole.task, whole.labels, whole.thresholds)
    assert tiled.map.dtype == whole.map.dtype
    if task == "semantic":
        assert np.array_equal(tiled.map, whole.map)
        assert [segment.id for segment in tiled.segments] == [segment.id for segment in whole.segments]


def test_the_panoptic_quality_is_that_of_the_whole_picture(segmenter, truth):
    """With masks at a quarter of the input's sides, as networks have them, so that edges are not exact."""
    classes, objects, photo = truth
    qualities = []
    for result in (
        segmenter("panoptic", 4)(photo), segment_tiled(segmenter("panoptic", 4), photo, tile=TILE, overlap=OVERLAP)
    ):  # fmt: skip
        qualities.append(panoptic_quality(result, classes.astype(int) * 100 + objects))
    assert qualities[0] > 0.9
    assert qualities[1] == pytest.approx(qualities[0], abs=0.01)


def panoptic_quality(result, truth):
    """PQ (Kirillov et al., 2019) over all classes together."""
    matched, total = 0, 0.0
    for key in np.unique(truth):
        for segment in result.segments:
            mask = result.map == segment.id
            iou = (mask & (truth == key)).sum() / (mask | (truth == key)).sum()
            if segment.label_id == key // 100 and iou > 0.5:
                matched, total = matched + 1, total + iou
    return 2 * total / (len(np.unique(truth)) + len(result.segments))


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_one_tile_gives_the_very_result(task):
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    made = Segmenter(small_model(1, init_std=0.5, init_xavier_std=0.15), task, size="48/96")
    found = Thresholds(threshold=0.05, overlap_mask_area_threshold=0.1)
    plain, tiled = made(photo, thresholds=found), segment_tiled(made, photo, tile=90, overlap=20, thresholds=found)
    assert np.array_equal(plain.map, tiled.map)
    assert plain.segments == tiled.segments
    assert plain.segments


@pytest.mark.parametrize(("length", "tile"), [(100, 100), (101, 100), (150, 100), (170, 100), (181, 100), (900, 64)])
def test_tiles_cover_an_axis_and_overlap(length, tile):
    overlap = tile // 5
    laid = spans(length, tile, overlap)
    assert (laid[0].start, laid[-1].stop) == (0, length)
    assert all(span.stop - span.start == tile for span in laid)
    for one, after in pairwise(laid):
        assert one.stop - after.start >= overlap
        assert one.core_stop == after.core_start
    assert (laid[0].core_start, laid[-1].core_stop) == (0, length)
    assert len(laid) == 1 + max(0, -(-(length - tile) // (tile - overlap)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 100, "overlap": 60}, "tiles of 100 pixels overlap by at most half of that, got 60"),
        ({"tile": 100, "overlap": 0}, "overlap must be"),
        ({"tile": 8, "overlap": 2}, "tile must be"),
        ({"tile": "big"}, "tile must be"),
        ({"threshold": 3.0}, "threshold must be"),
    ],
)
def test_what_does_not_fit_is_told(segmenter, options, message):
    with pytest.raises(InputError, match=message):
        segment_tiled(segmenter("panoptic"), np.zeros((200, 200, 3), np.uint8), **options)


@pytest.mark.parametrize("shape", [(9, 13), (17, 8), (40, 31)])
def test_a_packed_crop_is_the_packed_whole(shape):
    random = np.random.default_rng(0)
    for _ in range(50):
        top, bottom = sorted(random.choice(shape[0] + 1, 2, replace=False).tolist())
        left, right = sorted(random.choice(shape[1] + 1, 2, replace=False).tolist())
        whole = np.zeros(shape, bool)
        whole[top:bottom, left:right] = random.random((bottom - top, right - left)) < 0.5
        packed = pack_crop(whole[top:bottom, left:right], (left, top, right, bottom), shape)
        assert np.array_equal(unpack(packed, shape), whole)
