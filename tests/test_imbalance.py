"""Rare classes: images that come more often, by the formula of LVIS, and weights of classes."""

import math
from contextlib import closing
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from labeled import NAMES, PANOPTIC, SEMANTIC, instances, panoptic, write_coco, write_image, write_label_maps
from PIL import Image
from runs import small_run

from lucid_mlx import InputError
from lucid_mlx.data import coco_dataset, label_map_dataset
from lucid_mlx.training import LargeScaleJitter, Loader, Trainer, read_config
from lucid_mlx.training.imbalance import ImageClasses, balanced_weights, read_classes, repeat_factors
from lucid_mlx.training.start import open_data


def test_factors_are_those_of_the_paper():
    images = [{0, 1}, {0}, {0, 2}, {0}, {0, 1}, set(), {0}, {0}]  # shares: 7/8, 2/8, 1/8
    got = repeat_factors(images, 0.4)
    rare, rarer = math.sqrt(0.4 / (2 / 8)), math.sqrt(0.4 / (1 / 8))
    assert got.tolist() == pytest.approx([rare, 1, rarer, 1, rare, 1, 1, 1])
    assert repeat_factors([[1, 1], [0, 0], [0]], 0.5).tolist() == pytest.approx([math.sqrt(1.5), 1, 1])  # images count
    assert set(repeat_factors(images, 0.1)) == {1.0}


def test_balanced_weights_are_those_of_scikit_learn():
    images = [ImageClasses((0, 0, 2), (False,) * 3), ImageClasses((0, 2, 2), (False, False, True))]
    assert balanced_weights(images, 4) == [5 / (2 * 3), 1.0, 5 / (2 * 2), 1.0]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five images of sky and sea, one of them with a boat."""
    folder = tmp_path_factory.mktemp("maps")
    images, labels = write_label_maps(folder, 5, np.repeat(np.array([[0], [1]], np.uint8), 12, 0).repeat(32, 1))
    Image.fromarray(np.full((24, 32), 2, np.uint8)).save(labels / "3.png")
    return label_map_dataset(images, labels, NAMES)


@pytest.fixture
def loader(dataset):
    def make(**options):
        loader = Loader(dataset, LargeScaleJitter(24), **{"batch_size": 2, **options})
        loader.repeat_factors = repeat_factors([x.class_ids for x in read_classes(dataset)], 1.0)
        return loader

    return make


def numbers(loader, epoch, count=None):
    length = loader._length(epoch) if count is None else count
    return [int(task.record.path.stem) for task in islice(loader._tasks(epoch, 0), length)]


def first(loader, count, *position):
    with closing(loader.batches(*position)) as batches:
        return list(islice(batches, count))


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.next_position == b.next_position
        assert np.array_equal(a.pixels, b.pixels)
    return True


def test_images_come_as_often_as_their_factors_in_the_mean(loader):
    factor = math.sqrt(5)  # of the image with the boat, and sqrt(5 / 4) of the others
    one, again, other = loader(), loader(), loader(seed=1)
    counts = np.array([np.bincount(one._order(epoch)[0], minlength=5) for epoch in range(400)])
    assert set(counts[:, 3]) == {2, 3}
    assert set(counts[:, 0]) == {1, 2}
    assert counts.mean(axis=0)[3] == pytest.approx(factor, abs=0.08)
    assert counts.mean(axis=0)[[0, 1, 2, 4]] == pytest.approx(math.sqrt(5 / 4), abs=0.08)
    orders = [[numbers(each, epoch) for epoch in range(5)] for each in (one, again, other)]
    assert orders[0] == orders[1] != orders[2]


def test_factors_of_one_change_nothing(dataset, loader):
    ones = loader()
    ones.repeat_factors = np.ones(5)
    plain = loader()
    plain.repeat_factors = None
    assert [numbers(plain, epoch) for epoch in range(9)] != [sorted(numbers(plain, epoch)) for epoch in range(9)]
    assert all(sorted(numbers(ones, epoch)) == [0, 1, 2, 3, 4] for epoch in range(9))


def test_an_image_that_comes_again_in_an_epoch_looks_different(dataset):
    loader = Loader(replace(dataset, records=dataset.records[:1]), LargeScaleJitter(24), batch_size=1)
    loader.repeat_factors = np.array([3.0])
    batches = first(loader, 4)
    assert [batch.next_position for batch in batches] == [(0, 1), (0, 2), (1, 0), (1, 1)]
    assert len({np.array(batch.pixels).tobytes() for batch in batches}) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_goes_on_where_another_ended(loader, workers):
    batches = first(loader(), 12)
    assert {batch.next_position[0] for batch in batches} >= {0, 1, 2}
    for done in (1, 5, 8) if workers == 0 else (5,):
        assert same(first(loader(workers=workers), 12 - done, *batches[done - 1].next_position), batches[done:])


def test_a_batch_may_be_larger_than_an_epoch(loader):
    large, small = loader(batch_size=40), loader(batch_size=4)
    assert first(large, 1)[0].next_position == first(small, 10)[-1].next_position


def test_processes_share_the_stream(loader):
    whole = first(loader(batch_size=4), 5)
    parts = [first(loader(batch_size=4, shard=(rank, 2)), 5) for rank in range(2)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(share.next_position == batch.next_position for share in shares)
        assert all(np.array_equal(share.pixels, batch.pixels[rank::2]) for rank, share in enumerate(shares))


def test_a_position_behind_an_epoch_that_has_become_shorter_is_the_next_epoch(loader):
    (batch,), (wanted,) = first(loader(), 1, 0, 99), first(loader(), 1, 1, 0)
    assert np.array_equal(batch.pixels, wanted.pixels)
    assert batch.next_position == wanted.next_position


@pytest.mark.parametrize("kind", ["label maps", "instances", "panoptic"])
def test_the_classes_of_an_image_are_those_of_its_labels(tmp_path, kind):
    if kind == "label maps":
        (image,) = read_classes(label_map_dataset(*write_label_maps(tmp_path, 1, SEMANTIC), NAMES))
        assert image == ImageClasses((0, 1, 2), (False,) * 3)
        return
    dataset = coco_dataset(*write_coco(tmp_path, instances() if kind == "instances" else panoptic(), PANOPTIC))
    (image,) = read_classes(dataset)
    target = dataset.records[0].target()
    assert (list(image.class_ids), list(image.crowd)) == (target.class_ids.tolist(), target.crowd.tolist())


def test_labels_that_cannot_be_read_are_named(dataset, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken.png"):
        read_classes(replace(dataset, records=[replace(dataset.records[0], label_map=broken)]))


def test_a_run_has_weights_and_repeats_and_has_them_again_when_it_goes_on(tmp_path):
    config = small_run(tmp_path, repeat_threshold=1.0, class_weights="balanced")
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "labels" / "0.png")  # sky alone
    told = []
    Trainer(config, tmp_path / "out", log=told.append)
    assert "weights of classes in the loss: 0.833 sky, 1.11 sea, 1.11 boat" in told
    assert any("come up to 1.15 times in an epoch, which has some 4 samples of 4 images" in line for line in told)
    again = Trainer(config, tmp_path / "out", resume=True)
    assert again.class_weights.tolist() == pytest.approx([10 / 12, 10 / 9, 10 / 9])
    assert again.loader.repeat_factors.tolist() == pytest.approx([1, *[math.sqrt(4 / 3)] * 3])


def test_named_classes_weigh_what_the_file_says(tmp_path):
    trainer = Trainer(small_run(tmp_path, class_weights={"boat": 4, "sky": 0.5}), tmp_path / "out")
    assert trainer.class_weights.tolist() == [0.5, 1.0, 4.0]
    seen = []
    with closing(trainer.loader.batches()) as batches, pytest.MonkeyPatch.context() as patch:
        patch.setattr("lucid_mlx.training.gradients.compute_losses", lambda *a: seen.append(a[4]) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            trainer.step(batches)
    assert seen[0] is trainer.class_weights
    told = []
    plain = Trainer(small_run(tmp_path / "plain", repeat_threshold=0.2), tmp_path / "other", log=told.append)
    assert plain.class_weights is plain.loader.repeat_factors is None
    assert "every class is in at least 0.2 of the images: all images come equally often" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('class_weights = "even"', 'line 3: class_weights must be "balanced", or a table of names and numbers'),
        ("class_weights = 2", "line 3: class_weights must be"),
        ("[class_weights]\nboat = -1", "line 4: the weight of 'boat' must be at least 0, got -1"),
        ("[class_weights]\nboat = 'x'", "line 4: the weight of 'boat' must be a number, got 'x'"),
        ("[class_weights]\nboat = nan", "line 4: the weight of 'boat' must be a number"),
        ("repeat_threshold = 1.5", "line 3: repeat_threshold must be at most 1"),
        ("filter_empty = 1", "line 3: filter_empty must be True or False"),
    ],
)
def test_values_that_do_not_fit_are_errors_that_name_the_line(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(f'steps = 3\n\n{text}\n[train]\nimages = "i"\nannotations = "l"\n[augmentation]\nsize = 32\n')
    with pytest.raises(InputError, match=message):
        read_config(path)


def test_a_class_that_the_labels_lack_is_an_error(tmp_path):
    with pytest.raises(InputError, match="class_weights has 'boot', which is no class of the labels; did you mean 'b"):
        open_data(small_run(tmp_path, class_weights={"boot": 2}))
    with pytest.raises(InputError, match="has 'x', which is no class of the labels; the classes are sky, sea, boat"):
        open_data(replace(small_run(tmp_path / "other"), class_weights={"x": 2}))


def test_images_without_objects_are_trained_on_if_that_is_asked_for(tmp_path):
    raw = instances()
    raw["images"].append({"id": 8, "file_name": "b.png", "height": 4, "width": 6})
    write_image(tmp_path / "images" / "b.png")
    dataset = coco_dataset(*write_coco(tmp_path, raw))
    with pytest.warns(UserWarning, match=r"1 of 2 images have no object to learn.*; `filter_empty = false` keeps them"):
        assert len(Loader(dataset, LargeScaleJitter(8), batch_size=1).dataset.records) == 1
    loader = Loader(dataset, LargeScaleJitter(8), batch_size=2, filter_empty=False)
    assert sorted(map(len, first(loader, 1)[0].class_ids))[0] == 0
