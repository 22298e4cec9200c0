import gc
import io
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, small_model
from PIL import Image

import lucid_mlx
from lucid_mlx import InputError, Segmenter, Thresholds
from lucid_mlx.datasets import dataset_classes
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.results import from_logits
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.text import hide_bar
from lucid_mlx.weights import write_checkpoint

SIZES = [(30, 40), (40, 30), (64, 64), (30, 40), (7, 90), (40, 30), (30, 41)]
FOUND = Thresholds(threshold=0.05, overlap_mask_area_threshold=0.1)  # something, by a network that was never trained
SEMANTIC, INSTANCE, PANOPTIC = "cityscapes_semantic", "cityscapes_instance", "cityscapes_panoptic"
RECIPE = ImageConfig(size=None, shortest_edge=48, longest_edge=96, divisor_mode="pad").to_dict()


def photos(sizes=SIZES):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def written(folder, dataset=None, source="a test", names=None, image_config=RECIPE, task=None, **kwargs):
    """A small network in a folder, trained for a dataset as it says."""
    known = dataset_classes(dataset) if dataset in lucid_mlx.datasets.DATASETS else ()
    names = names or [entry.name for entry in known] or list("abcde")
    model = small_model(num_labels=len(names), **kwargs)
    model.config.id2label = dict(enumerate(names))
    metadata = {"source": source} | ({"dataset": dataset} if dataset else {})
    metadata |= {"task": task} if task else {}
    return write_checkpoint(folder / "weights", model.config.to_dict(), named_parameters(model), metadata, image_config)


@pytest.fixture(scope="module")
def model():
    """A network of larger heads and weaker attention than for training, so that what it says depends on the photo."""
    return small_model(1, init_std=0.5, init_xavier_std=0.15)


@pytest.fixture(scope="module")
def segmenters(model):
    """One a task; they share the network, and make small inputs of several sizes."""
    return {task: Segmenter(model, task=task, size="48/96") for task in ("semantic", "instance", "panoptic")}


def same(ours, theirs):
    """Whether two results agree but for the rounding that a batch brings, which may tip single pixels."""
    assert ours.map.shape == theirs.map.shape
    assert (ours.map != theirs.map).mean() < 0.005
    pairs = list(zip(ours.segments, theirs.segments, strict=True))
    assert [a.label_id for a, _ in pairs] == [b.label_id for _, b in pairs]
    assert all(a.score is None or abs(a.score - b.score) < 1e-5 for a, b in pairs)
    return True


class TestTasks:
    @pytest.mark.parametrize(
        ("dataset", "task"), [(SEMANTIC, "semantic"), (INSTANCE, "instance"), (PANOPTIC, "panoptic")]
    )
    def test_the_task_is_what_the_weights_were_trained_for(self, tmp_path, dataset, task):
        segmenter = Segmenter(written(tmp_path, dataset))
        assert segmenter.task == task
        result = segmenter(photos()[0], thresholds=FOUND)
        assert result.task == task
        assert result.map.shape == (30, 40)
        assert result.labels == segmenter.labels
        assert segmenter.labels[0] == dataset_classes(dataset)[0].name

    @pytest.mark.parametrize("dataset", [None, "mine", "my_own", "my_photos_instance"])
    def test_it_is_semantic_if_nobody_knows(self, tmp_path, dataset):
        segmenter = Segmenter(written(tmp_path, dataset))
        assert segmenter.task == "semantic"
        assert segmenter.thing_ids is None

    def test_weights_of_an_own_dataset_say_their_task(self, tmp_path):
        assert Segmenter(written(tmp_path, "cells", task="instance")).task == "instance"

    @pytest.mark.parametrize(
        ("dataset", "task", "expect"),
        [
            (SEMANTIC, "instance", "for semantic segmentation: objects of a class that touch come as one"),
            (SEMANTIC, "panoptic", "for semantic segmentation: objects of a class that touch"),
            (INSTANCE, "semantic", "for instance segmentation: it knows no background"),
            (INSTANCE, "panoptic", "for instance segmentation: it knows no background"),
        ],
    )
    def test_another_task_gets_a_warning_that_says_what_to_expect(self, tmp_path, dataset, task, expect):
        weights = written(tmp_path, dataset)
        with pytest.warns(UserWarning, match=expect) as told:
            segmenter = Segmenter(weights, task=task)
        assert told[0].filename == __file__
        assert segmenter(photos()[0]).task == task

    @pytest.mark.parametrize("task", ["semantic", "instance"])
    def test_a_panoptic_network_does_all_without_a_warning(self, tmp_path, task):
        assert Segmenter(written(tmp_path, PANOPTIC), task=task).task == task

    def test_maps_of_semantic_networks_are_made_in_the_original_order(self, tmp_path, monkeypatch):
        asked = []
        original = from_logits.semantic_segmentation
        monkeypatch.setattr(
            from_logits, "semantic_segmentation",
            lambda *args, **kwargs: asked.append(kwargs["resize_scores"]) or original(*args, **kwargs),
        )  # fmt: skip
        for number, dataset in enumerate([SEMANTIC, PANOPTIC, None]):
            Segmenter(written(tmp_path / str(number), dataset), task="semantic")(photos()[0])
        assert asked == [True, False, False]


class TestThings:
    def test_a_dataset_tells_its_things_whatever_the_labels(self, tmp_path):
        names = [f"LABEL_{number}" for number in range(19)]
        things = Segmenter(written(tmp_path, PANOPTIC, names=names)).thing_ids
        assert things == set(range(11, 19))

    def test_names_tell_the_things_of_a_model(self):
        classes = dataset_classes("cityscapes_panoptic")
        model = small_model(num_labels=len(classes))
        assert Segmenter(model).thing_ids is None
        model.config.id2label = {number: entry.name for number, entry in enumerate(classes)}
        assert Segmenter(model).thing_ids == set(range(11, 19))

    def test_a_dataset_of_another_number_of_classes_tells_nothing(self, tmp_path):
        assert Segmenter(written(tmp_path, PANOPTIC, names=list("abc"))).thing_ids is None

    def test_instances_are_things_only(self, tmp_path):
        result = Segmenter(written(tmp_path, PANOPTIC), task="instance")(
            photos()[0], thresholds=Thresholds(threshold=0.0)
        )
        assert result.segments
        assert {segment.label_id for segment in result.segments} <= set(range(11, 19))

    def test_stuff_is_merged_and_things_are_not(self, model):
        segmenter = Segmenter(model, task="panoptic", size="64")
        thresholds = Thresholds(threshold=0.0, mask_threshold=0.0, overlap_mask_area_threshold=0.0)
        apart = [segment.label_id for segment in segmenter(photos()[0], thresholds=thresholds).segments]
        segmenter.thing_ids = frozenset()
        merged = [segment.label_id for segment in segmenter(photos()[0], thresholds=thresholds).segments]
        assert len(apart) > len(merged)
        assert sorted(set(apart)) == sorted(merged)


class TestRecipes:
    def test_a_checkpoint_brings_its_own(self, tmp_path):
        segmenter = Segmenter(written(tmp_path))
        assert segmenter.image_config.shortest_edge == 48
        assert "own image configuration" in segmenter.image_config_note

    def test_a_published_one_is_seen_at_its_published_size(self, tmp_path):
        weights = written(
            tmp_path, "coco_panoptic", "facebook/mask2former-swin-tiny-coco-panoptic", image_config={"size": 384}
        )
        segmenter = Segmenter(weights)
        assert (segmenter.image_config.shortest_edge, segmenter.image_config.longest_edge) == (800, 1333)
        assert "published test size of coco_panoptic" in segmenter.image_config_note

    def test_a_size_that_is_asked_for_counts_most(self, tmp_path):
        segmenter = Segmenter(written(tmp_path), size="64x32")
        assert segmenter.image_config.size == (32, 64)
        assert segmenter.image_config_note == "size 64x32, as asked"

    def test_a_model_is_used_as_the_published_ones(self, model):
        assert Segmenter(model).image_config == ImageConfig()
        assert "384x384" in Segmenter(model).image_config_note

    def test_a_type_to_compute_in(self, tmp_path):
        weights = written(tmp_path)
        half, full = Segmenter(weights, dtype=mx.float16), Segmenter(weights)
        assert {array.dtype for array in named_parameters(half.model).values()} == {mx.float16}
        photo = photos()[0]
        assert (half(photo).map != full(photo).map).mean() < 0.1

    def test_a_model_is_put_into_inference_mode(self, model):
        model.train()
        Segmenter(model)
        assert not model.training


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
class TestBatches:
    def test_mixed_sizes_come_in_order_and_as_alone(self, segmenters, task):
        images = photos()
        alone = [segmenters[task](image, thresholds=FOUND) for image in images]
        assert len({result.map.tobytes() for result in alone}) == len(images)
        for batch_size in (3, 7):
            together = segmenters[task](images, batch_size=batch_size, thresholds=FOUND)
            assert all(same(a, b) for a, b in zip(together, alone, strict=True))
            assert all(np.array_equal(result.image, image) for result, image in zip(together, images, strict=True))

    def test_threads_share_a_segmenter(self, segmenters, task):
        images, segmenter = photos(), segmenters[task]
        alone = [segmenter(image, thresholds=FOUND) for image in images]
        got, barrier = {}, threading.Barrier(4)

        def work(number):
            barrier.wait()
            got[number] = list(segmenter.stream(images[number:], batch_size=2, thresholds=FOUND))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 4
        for number, results in got.items():
            assert all(same(a, b) for a, b in zip(results, alone[number:], strict=True))


def test_a_segmenter_made_here_serves_another_thread(tmp_path):
    # Arrays that MLX has not computed yet belong to the thread that made them.
    segmenter, got = Segmenter(written(tmp_path)), []
    thread = threading.Thread(target=lambda: got.append(segmenter(photos()[0])))
    thread.start()
    thread.join()
    assert got[0].map.shape == (30, 40)


class TestStream:
    def test_no_more_than_a_batch_is_taken_ahead(self, segmenters):
        taken = []

        def source():
            for number, photo in enumerate(photos()):
                taken.append(number)
                yield photo

        results = segmenters["semantic"].stream(source(), batch_size=3)
        assert taken == []
        for count in range(1, 8):
            assert next(results).map.shape == SIZES[count - 1]
            assert len(taken) == min(7, -(-count // 3) * 3)
        assert list(results) == []

    def test_results_that_are_not_kept_are_freed(self, segmenters):
        def alive():
            gc.collect()
            return sum(isinstance(thing, lucid_mlx.Segmentation) for thing in gc.get_objects())

        before = alive()
        counts = [alive() for _ in segmenters["semantic"].stream(iter(photos([(30, 40)] * 6)), batch_size=2)]
        assert max(counts) - before <= 3  # a batch, and the last of the one before it
        assert alive() == before

    def test_a_progress_bar_counts_the_images(self, segmenters, monkeypatch):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr("sys.stderr", terminal)
        assert len(list(segmenters["semantic"].stream(photos([(30, 40)] * 3), progress=True))) == 3
        assert "3/3" in terminal.getvalue()

    def test_a_notebook_has_one_though_it_is_no_terminal(self, monkeypatch):
        shell = SimpleNamespace(kernel=None)
        monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
        assert (hide_bar(True), hide_bar(False)) == (False, True)

    def test_it_shows_nothing_unasked_or_in_a_log(self, segmenters, capsys):
        for progress in (False, True):
            list(segmenters["semantic"].stream(photos([(30, 40)]), progress=progress))
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize(
        "images", ["photo.jpg", Path("photo.jpg"), b"photo", photos()[0], Image.new("RGB", (9, 9)), io.BytesIO(b"x"), 3]
    )
    def test_a_single_image_is_no_stream(self, segmenters, images):
        with pytest.raises(InputError, match="stream takes several images, got a .*; put it into a list"):
            segmenters["semantic"].stream(images)

    @pytest.mark.parametrize("batch_size", [0, -1, 1.0, True, "2"])
    def test_bad_batch_sizes_are_told_at_once(self, segmenters, batch_size):
        with pytest.raises(InputError, match="batch_size must be (a whole number|at least 1)"):
            segmenters["semantic"].stream([], batch_size=batch_size)
        with pytest.raises(InputError, match="batch_size"):
            segmenters["semantic"](photos()[0], batch_size=batch_size)


class TestSources:
    def test_any_kind_of_image_gives_its_result_and_keeps_its_name(self, segmenters, tmp_path):
        photo, path = photos()[0], tmp_path / "photo.png"
        Image.fromarray(photo).save(path)
        with path.open("rb") as file, Image.open(path) as picture:
            sources = [
                path,
                str(path),
                picture,
                file,
                path.read_bytes(),
                Image.fromarray(photo),
                photo,
                mx.array(photo),
            ]
            results = segmenters["semantic"](sources)
        assert [result.name for result in results] == [str(path)] * 4 + [None] * 4
        for result in results:
            assert np.array_equal(result.image, photo)
            assert np.array_equal(result.map, results[0].map)

    def test_one_gives_one_and_a_list_a_list(self, segmenters):
        photo = photos()[0]
        assert isinstance(segmenters["semantic"](photo), lucid_mlx.Segmentation)
        assert [result.map.shape for result in segmenters["semantic"]((photo,))] == [(30, 40)]
        assert segmenters["semantic"]([]) == []

    def test_a_photo_in_a_file(self, segmenters):
        result = segmenters["semantic"](PHOTO)
        assert result.map.shape == (400, 600)
        assert "coffee.jpg, 600x400: " in repr(result)

    @pytest.mark.parametrize("source", ["no.jpg", None, np.zeros((2, 2, 7), np.uint8)])
    def test_what_is_no_image_is_told(self, segmenters, source):
        with pytest.raises(InputError):
            segmenters["semantic"]([photos()[0], source])


class TestBadInput:
    @pytest.mark.parametrize("name", ["threshold", "mask_threshold", "overlap_mask_area_threshold"])
    @pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", True])
    def test_thresholds_out_of_range_are_told(self, name, value):
        with pytest.raises(InputError, match=f"^{name} must be (a number|a number or None|at least 0|at most 1), got"):
            Thresholds(**{name: value})

    @pytest.mark.parametrize("value", [0, 1.0, True])
    def test_so_is_a_top_k_below_one(self, value):
        with pytest.raises(InputError, match="top_k must be (a whole number|at least 1), got"):
            Thresholds(top_k=value)

    def test_limits_decide_what_counts(self, segmenters):
        photo = photos()[0]
        for task in ("instance", "panoptic"):
            scores = [part.score for part in segmenters[task](photo, thresholds=FOUND).segments]
            limit = Thresholds(threshold=(min(scores) + max(scores)) / 2, overlap_mask_area_threshold=0.0)
            kept = segmenters[task](photo, thresholds=limit).segments
            assert kept
            assert all(part.score >= limit.threshold for part in kept)
        assert len(segmenters["instance"](photo, thresholds=Thresholds(threshold=0.0, top_k=3)).segments) <= 3
        assert segmenters["panoptic"](photo, thresholds=Thresholds(threshold=1.0)).segments == ()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"task": "depth"}, "task must be one of semantic, instance, panoptic, got 'depth'"),
            ({"dtype": mx.float16}, "dtype goes with weights"),
            ({"size": "big"}, "'big' is no size"),
        ],
    )
    def test_bad_arguments_are_told(self, model, arguments, message):
        with pytest.raises(InputError, match=message):
            Segmenter(model, **arguments)

    def test_weights_that_cannot_be_had_are_told(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            Segmenter(str(tmp_path / "nowhere"))
