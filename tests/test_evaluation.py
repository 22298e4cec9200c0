"""Figures against known answers, the rules of the papers, and what the evaluators themselves say."""

import json
from dataclasses import replace

import hotcoco.semantic
import mlx.core as mx
import numpy as np
import pytest
from helpers import small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from labeled import NAMES, SEMANTIC, instances, load_scenes, panoptic, write_coco, write_garments, write_label_maps

from lucid_mlx import InputError, Segmenter, Thresholds
from lucid_mlx.data import Dataset, Target, coco_dataset, label_maps
from lucid_mlx.evaluation import (
    Evaluation,
    InstanceMetrics,
    PanopticMetrics,
    SemanticMetrics,
    evaluate,
    match_classes,
)
from lucid_mlx.postprocessing import Panoptic
from lucid_mlx.postprocessing import PanopticSegment as Scored
from lucid_mlx.results.segmentation import Segmentation

LABELS = dict(enumerate(NAMES))
SAME = {0: 0, 1: 1, 2: 2}


def dataset(task, names=NAMES, things=(2,)):
    return Dataset(task, names, frozenset(things), [None])


def target(parts, shape):
    """A target of (mask, class) or (mask, class, crowd)."""
    masks = np.array([part[0] for part in parts], bool).reshape(-1, *shape)
    crowd = [len(part) > 2 and part[2] for part in parts]
    areas = masks.sum(axis=(1, 2)).astype(float)
    ids = np.arange(len(parts)).astype(object)
    return Target(masks, np.array([part[1] for part in parts], np.int32), np.array(crowd, bool), areas, ids)


def truth_of(ids, kinds, crowds=()):
    """A target of a map of ids from 1, 0 for nothing, with the class of each."""
    return target([(ids == n, kind, n in crowds) for n, kind in kinds.items()], ids.shape)


def found_of(ids, kinds, labels=LABELS):
    segments = tuple(Scored(n, kind, 1.0, int((ids == n).sum())) for n, kind in kinds.items() if (ids == n).any())
    return Segmentation.of_panoptic(np.zeros((*ids.shape, 3), np.uint8), Panoptic(mx.array(ids), segments), labels)


class FakeInstances:
    """What a network's instances look like to `Segmentation.of_instances`."""

    def __init__(self, masks, kinds, scores):
        self._masks, self.label_ids, self.scores = np.array(masks), mx.array(kinds), mx.array(scores)

    def masks(self, places):
        return mx.array(self._masks[places])


def objects(masks, kinds, scores):
    image = np.zeros((*np.shape(masks)[1:], 3), np.uint8)
    return Segmentation.of_instances(image, FakeInstances(masks, kinds, scores), 0.0, LABELS)


class TestSemantic:
    def found(self, classes):
        return Segmentation.of_semantic(np.zeros((*classes.shape, 3), np.uint8), classes.astype(np.int32), LABELS)

    def test_known_answer(self):
        metrics = SemanticMetrics(dataset("semantic"), SAME)
        truth = np.array([[0, 0, 0, 0], [1, 1, -1, -1]])
        metrics.add(
            self.found(np.array([[0, 0, 0, 1], [1, 2, 2, 0]])), target([(truth == 0, 0), (truth == 1, 1)], (2, 4))
        )
        whole, each = metrics.figures()
        assert each["sky"] == {"IoU": 75.0, "ACC": 75.0}
        assert each["sea"] == {"IoU": pytest.approx(100 / 3), "ACC": 50.0}
        assert each["boat"] == {"IoU": None, "ACC": None}  # it is nowhere: what is taken for it costs the others alone
        assert whole["mIoU"] == pytest.approx((75 + 100 / 3) / 2)
        assert whole["fwIoU"] == pytest.approx((75 * 4 + 100 / 3 * 2) / 6)
        assert whole["mACC"] == pytest.approx(62.5)
        assert whole["pACC"] == pytest.approx(400 / 6)

    def test_it_agrees_with_another_evaluator_over_several_images(self):
        rng = np.random.default_rng(0)
        metrics = SemanticMetrics(dataset("semantic"), SAME)
        other = hotcoco.semantic.SemanticEval(list(NAMES), ignore_index=255)
        for _ in range(3):
            truth, guess = rng.integers(0, 4, (20, 30)), rng.integers(0, 3, (20, 30))
            truth[truth == 3] = 255
            metrics.add(self.found(guess), target([(truth == k, k) for k in range(3)], (20, 30)))
            other.update(truth.astype(np.uint8), guess.astype(np.uint8))
        whole, _ = metrics.figures()
        assert np.array_equal(metrics.confusion[:, :3], other.confusion())
        theirs = other.results()
        assert whole["mIoU"] == pytest.approx(100 * theirs["mIoU"])
        assert whole["fwIoU"] == pytest.approx(100 * theirs["fwIoU"])
        assert whole["mACC"] == pytest.approx(100 * theirs["mAcc"])
        assert whole["pACC"] == pytest.approx(100 * theirs["aAcc"])

    def test_classes_are_renumbered_and_those_that_the_dataset_lacks_are_wrong(self):
        metrics = SemanticMetrics(dataset("semantic"), {4: 0, 1: 2})
        truth = np.array([[0, 0, 2, 2]])
        found = Segmentation.of_semantic(np.zeros((1, 4, 3), np.uint8), np.array([[4, 5, 1, 0]], np.int32),
                                         dict(enumerate("abcdef")))  # fmt: skip
        metrics.add(found, target([(truth == 0, 0), (truth == 2, 2)], (1, 4)))
        assert metrics.confusion.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]]

    def test_labels_without_a_known_pixel_are_told(self):
        with pytest.raises(InputError, match="no pixel of a known class"):
            SemanticMetrics(dataset("semantic"), SAME).figures()


def quality(truths, founds, things):
    """PQ by the paper's definition, sec. 4, and what it says on void and crowds: sums for each class."""
    sums = {kind: [0.0, 0, 0, 0] for kind in range(3)}
    for (ids, kinds, crowds), (found, found_kinds) in zip(truths, founds, strict=True):
        taken, void = set(), ids == 0
        for n, kind in kinds.items():
            if n in crowds or not (ids == n).any():
                continue
            for m, guess in found_kinds.items():
                union = ((ids == n) | ((found == m) & ~void)).sum()
                iou = ((ids == n) & (found == m)).sum() / union
                if guess == kind and iou > 0.5:
                    sums[kind][0] += iou
                    sums[kind][1] += 1
                    taken |= {m}
                    break
            else:
                sums[kind][3] += 1
        for m, guess in found_kinds.items():
            mine = found == m
            if m not in taken and mine.any():
                free = void | np.isin(ids, [n for n in crowds if kinds[n] == guess])
                sums[guess][2] += (mine & free).sum() / mine.sum() <= 0.5
    figures = {k: iou / (tp + fp / 2 + fn / 2) for k, (iou, tp, fp, fn) in sums.items() if tp + fp + fn}
    groups = {"PQ": range(3), "PQ_things": things, "PQ_stuff": set(range(3)) - set(things)}
    return {
        name: 100 * np.mean([figures[k] for k in group if k in figures]) if set(group) & set(figures) else None
        for name, group in groups.items()
    }


class TestPanoptic:
    def metrics(self, pairs):
        metrics = PanopticMetrics(dataset("panoptic"), SAME)
        for truth, found in pairs:
            metrics.add(found_of(*found), truth_of(*truth))
        return metrics.figures()

    def test_known_answer(self):
        ids = np.repeat([1, 1, 1, 1, 2, 2, 3, 3, 0, 0], 10).reshape(10, 10)
        found = np.repeat([1, 1, 1, 2, 2, 2, 0, 0, 3, 4], 10).reshape(10, 10)
        whole, each = self.metrics([((ids, {1: 0, 2: 1, 3: 2}), (found, {1: 0, 2: 1, 3: 2, 4: 0}))])
        # sky is found with IoU 30/40; sea 20/30; the boat is missed; what lies on unknown pixels is no error
        assert each["sky"] == {"PQ": pytest.approx(75), "SQ": pytest.approx(75), "RQ": pytest.approx(100)}
        assert each["sea"] == {"PQ": pytest.approx(200 / 3), "SQ": pytest.approx(200 / 3), "RQ": pytest.approx(100)}
        assert each["boat"] == {"PQ": 0, "SQ": 0, "RQ": 0}
        assert whole["PQ"] == pytest.approx((75 + 200 / 3) / 3)
        assert (whole["PQ_things"], whole["PQ_stuff"]) == (0, pytest.approx((75 + 200 / 3) / 2))

    def test_unknown_pixels_do_not_count_in_a_union_and_a_half_is_not_enough(self):
        ids = np.repeat([1, 1, 0, 0, 0, 2], 4).reshape(6, 4)
        found = np.repeat([1, 1, 1, 1, 1, 2], 4).reshape(6, 4)
        assert self.metrics([((ids, {1: 2, 2: 2}), (found, {1: 2, 2: 2}))])[0]["PQ"] == 100
        half = np.repeat([1, 1, 2, 2], 4).reshape(4, 4)
        whole, _ = self.metrics([((np.ones((4, 4), int), {1: 2}), (half, {1: 2, 2: 0}))])
        assert whole["PQ"] == 0

    def test_what_lies_on_a_crowd_of_its_class_is_no_error(self):
        ids = np.repeat([1, 1, 2, 2], 4).reshape(4, 4)
        found = np.repeat([1, 1, 2, 2], 4).reshape(4, 4)
        _, each = self.metrics([((ids, {1: 0, 2: 2}, [2]), (found, {1: 0, 2: 2}))])
        assert each["boat"]["PQ"] is None
        _, each = self.metrics([((ids, {1: 0, 2: 2}, [2]), (found, {1: 0, 2: 1}))])
        assert each["sea"]["PQ"] == 0  # a crowd of another class does not excuse it

    @given(st.lists(st.integers(0, 10_000), min_size=1, max_size=3))
    @settings(max_examples=60, deadline=None)
    def test_it_follows_the_paper(self, seeds):
        truths, founds = [], []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            ids = rng.integers(0, 5, 12).repeat(3).reshape(6, 6)
            found = np.where(rng.random((6, 6)) < 0.8, ids, rng.integers(0, 5, (6, 6)))
            kinds = {n: int(rng.integers(3)) for n in range(1, 5) if (ids == n).any()}
            guesses = {n: kinds[n] if n in kinds and rng.random() < 0.8 else int(rng.integers(3)) for n in range(1, 5)}
            crowds = {n for n in kinds if kinds[n] == 2 and rng.random() < 0.3}
            crowds = set(list(crowds)[:1])  # the panoptic API counts one crowd a class
            truths.append((ids, kinds, crowds))
            founds.append((found, guesses))
        expected = quality(truths, founds, {2})
        whole, _ = self.metrics(zip(truths, founds, strict=True))
        for name, value in expected.items():
            assert whole[name] == (value if value is None else pytest.approx(value, abs=1e-9)), name

    def test_what_the_dataset_has_no_class_for_is_not_found(self):
        ids = np.repeat([1, 2], 8).reshape(4, 4)
        metrics = PanopticMetrics(dataset("panoptic"), {3: 0})
        metrics.add(found_of(ids, {1: 3, 2: 1}, dict(enumerate("abcd"))), truth_of(ids, {1: 0, 2: 1}))
        _, each = metrics.figures()
        assert (each["sky"]["PQ"], each["sea"]["PQ"], each["boat"]["PQ"]) == (100, 0, None)


class TestInstance:
    def square(self, size, top=0):
        mask = np.zeros((40, 40), bool)
        mask[top : top + size, :size] = True
        return mask

    def figures(self, parts, *found, things=(0, 1, 2)):
        metrics = InstanceMetrics(dataset("instance", things=things), SAME)
        metrics.add(objects(*found), target(parts, (40, 40)))
        return metrics.figures()

    def test_known_answers(self, capsys):
        truth = [(self.square(10), 0), (self.square(10, 20), 0), (self.square(36), 1)]
        # of the skies one is found well and one is not; what comes last and covers nothing costs no precision
        partly = self.square(10)
        partly[:, 8:] = partly[2:, 7] = False
        masks, kinds, scores = [partly, self.square(36), self.square(4, 30)], [0, 1, 0], [0.9, 0.8, 0.1]
        whole, each = self.figures(truth, masks, kinds, scores)
        assert each["sea"] == {"AP": pytest.approx(100), "AP50": pytest.approx(100)}
        # IoU 0.72 passes 5 of 10 thresholds; recall reaches one half, which is 51 of 101 places
        assert each["sky"] == {"AP": pytest.approx(100 * 0.5 * 51 / 101), "AP50": pytest.approx(100 * 51 / 101)}
        assert each["boat"] == {"AP": None, "AP50": None}
        assert whole["AP"] == pytest.approx((100 + 50 * 51 / 101) / 2)
        assert whole["APl"] is None
        assert whole["APm"] == pytest.approx(100)  # 1296 pixels
        assert capsys.readouterr().out == ""

    def test_crowds_excuse_what_lies_on_them(self):
        truth = [(self.square(10), 0), (self.square(8, 20), 0, True)]
        masks, kinds, scores = [self.square(6, 21), self.square(10)], [0, 0], [0.9, 0.8]
        assert self.figures(truth, masks, kinds, scores)[0]["AP"] == pytest.approx(100)
        assert self.figures(truth[:1], masks, kinds, scores)[0]["AP"] == pytest.approx(50)

    def test_nothing_found_is_zero_and_nothing_there_is_no_figure(self):
        nothing = (np.zeros((0, 40, 40), bool), np.zeros(0, int), np.zeros(0))
        assert self.figures([(self.square(9), 0)], *nothing)[0]["AP"] == 0
        assert self.figures([], [self.square(9)], [0], [0.9])[0]["AP"] is None

    def test_of_panoptic_labels_things_alone_count(self):
        truth = [(self.square(10), 0), (self.square(10, 20), 2)]
        whole, each = self.figures(truth, [self.square(10, 20)], [2], [0.9], things=(2,))
        assert list(each) == ["boat"]
        assert whole["AP"] == pytest.approx(100)


@pytest.fixture(scope="module")
def model():
    model = small_model(1, num_labels=3, init_std=0.5, init_xavier_std=0.15)
    model.config.id2label = {0: "boat", 1: "Sky", 2: "sea"}  # another order and other capitals
    return model


class TestEvaluate:
    def test_a_dataset_goes_through_the_segmenter(self, model, tmp_path):
        labeled = label_maps(*write_label_maps(tmp_path, 3), NAMES)
        segmenter = Segmenter(model, "semantic", size="32")
        result = evaluate(segmenter, labeled, batch_size=2)
        names = {1: 0, 2: 1, 0: 2}
        hits = total = 0
        for record in labeled.records:
            guess = np.vectorize(names.get)(segmenter(record.image()).map)
            hits, total = hits + (guess == SEMANTIC).sum(), total + (SEMANTIC != 255).sum()
        assert (result.task, result.images) == ("semantic", 3)
        assert result.figures["pACC"] == pytest.approx(100 * hits / total)
        assert list(result.classes) == list(NAMES)

    @pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
    def test_panoptic_labels_serve_every_task(self, model, tmp_path, task):
        raw = panoptic()
        labeled = coco_dataset(*write_coco(tmp_path, raw))
        result = evaluate(Segmenter(model, task, size="32"), labeled)
        assert result.task == task
        assert all(value is None or 0 <= value <= 100 for value in result.figures.values())

    def test_a_network_that_says_the_truth_has_full_marks(self, model, tmp_path, monkeypatch):
        scenes = load_scenes()
        folder = write_garments(tmp_path)
        model = small_model(num_labels=15)
        model.config.id2label = dict(enumerate(scenes.NAMES))
        by_image = {}
        for task in ("semantic", "instance", "panoptic"):
            labeled = scenes.fashion_scenes("test", 4, task, size=64, folder=folder)
            for record in labeled.records:
                by_image[task, record.image().tobytes()] = record.target()

            def answer(self, photos, *, task=task, **options):
                for photo in photos:
                    truth = by_image[task, photo.tobytes()]
                    ids = (truth.masks * np.arange(1, len(truth.masks) + 1)[:, None, None]).sum(axis=0)
                    if task == "semantic":
                        yield Segmentation.of_semantic(photo, truth.class_map(), self.labels)
                    elif task == "panoptic":
                        yield found_of(ids, dict(enumerate(truth.class_ids.tolist(), 1)), self.labels)
                    else:
                        found = FakeInstances(truth.masks, truth.class_ids, np.ones(len(truth.masks)))
                        yield Segmentation.of_instances(photo, found, 0.0, self.labels)

            monkeypatch.setattr(Segmenter, "stream", answer)
            result = evaluate(Segmenter(model, task), labeled)
            first = {"semantic": "mIoU", "instance": "AP", "panoptic": "PQ"}[task]
            assert next(iter(result.figures)) == first
            assert result.figures[first] == pytest.approx(100)

    def test_all_instances_count_unless_limits_say_otherwise(self, model, tmp_path, monkeypatch):
        asked = []
        original = Segmenter.stream
        monkeypatch.setattr(
            Segmenter, "stream", lambda self, images, **o: asked.append(o) or original(self, images, **o)
        )
        raw = instances()
        raw["categories"][1]["name"] = "sky"
        labeled = coco_dataset(*write_coco(tmp_path, raw))
        evaluate(Segmenter(model, "instance", size="32"), labeled)
        evaluate(Segmenter(model, "instance", size="32"), labeled, thresholds=Thresholds(0.3))
        assert [options["thresholds"].threshold for options in asked] == [0.0, 0.3]

    def test_labels_for_another_task_are_told(self, model, tmp_path):
        labeled = label_maps(*write_label_maps(tmp_path), NAMES)
        with pytest.raises(InputError, match="labels for semantic segmentation cannot tell how good panoptic"):
            evaluate(Segmenter(model, "panoptic"), labeled)

    def test_labels_of_another_size_than_the_image_are_told(self, model, tmp_path):
        images, labels = write_label_maps(tmp_path)
        other, _ = write_label_maps(tmp_path / "other", labels=SEMANTIC[:3])
        labeled = label_maps(images, labels, NAMES)
        records = [replace(record, path=other / record.path.name) for record in labeled.records]
        with pytest.raises(InputError, match=r"0.png is 6x3 pixels, its labels are for 6x4"):
            evaluate(Segmenter(model, "semantic", size="32"), replace(labeled, records=records))


class TestClasses:
    def test_names_match_whatever_their_capitals_and_order(self):
        assert match_classes({0: "Boat", 1: "SKY ", 2: "fog"}, {0: "sky", 5: "boat"}) == {0: 5, 1: 0}

    def test_what_the_network_does_not_know_is_told(self):
        with pytest.raises(
            InputError, match=r"does not know 2 of the 3 classes of the dataset: sea, bots; is 'sea'"
        ) as told:
            match_classes({0: "sky", 1: "boats", 2: "sean"}, {0: "sky", 1: "sea", 2: "bots"})
        assert str(told.value).endswith("is 'sea' its 'sean'?")


class TestReport:
    one = Evaluation("semantic", 5, {"mIoU": 41.234, "pACC": None}, {"sky": {"IoU": 50.0}, "sea": {"IoU": None}})

    def test_tables(self):
        lines = self.one.table().splitlines()
        assert lines == ["mIoU  41.23", "pACC      -", "", "class    IoU", "sky    50.00", "sea        -"]
        assert str(self.one) == "mIoU 41.23, pACC -"

    def test_a_file_gives_it_back(self, tmp_path):
        (tmp_path / "a.json").write_text(json.dumps(self.one.to_json()))
        assert Evaluation.from_json(tmp_path / "a.json") == self.one

    def test_two_are_compared_by_figure_and_class(self):
        other = Evaluation("semantic", 5, {"mIoU": 40.0}, {"sky": {"IoU": 60.0}, "fog": {"IoU": 1.0}})
        lines = [line.split() for line in self.one.compare(other).splitlines()]
        assert lines == [
            ["this", "other", "change"], ["mIoU", "41.23", "40.00", "+1.23"], ["pACC", "-", "-", "-"],
            ["IoU", "sky", "50.00", "60.00", "-10.00"], ["IoU", "sea", "-", "-", "-"],
        ]  # fmt: skip
        with pytest.raises(InputError, match="figures of semantic segmentation cannot be compared with"):
            self.one.compare(replace(other, task="panoptic"))

    @pytest.mark.parametrize(
        "text", ["{}", "[]", "no", '{"task": 1, "images": 1, "figures": {"a": "b"}, "classes": {}}']
    )
    def test_other_files_are_told(self, tmp_path, text):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match=r"a.json is not what an evaluation wrote"):
            Evaluation.from_json(tmp_path / "a.json")
        with pytest.raises(InputError, match=r"none.json cannot be read"):
            Evaluation.from_json(tmp_path / "none.json")
