"""Metrics against known results, the definitions in the papers, and other evaluators."""

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
from lucid_mlx.data import Dataset, Target, coco_dataset, label_map_dataset
from lucid_mlx.evaluation import (
    Evaluation,
    InstanceMetrics,
    PanopticMetrics,
    SemanticMetrics,
    evaluate,
    match_classes,
)
from lucid_mlx.postprocessing import PanopticResult, PanopticSegment
from lucid_mlx.results.segmentation import Segmentation

LABELS = dict(enumerate(NAMES))
SAME = {0: 0, 1: 1, 2: 2}


def dataset(task, class_names=NAMES, thing_ids=(2,)):
    return Dataset(task, class_names, frozenset(thing_ids), [None])


def target(annotations, shape):
    """A target of (mask, class id) or (mask, class id, crowd)."""
    masks = np.array([x[0] for x in annotations], bool).reshape(-1, *shape)
    crowd = [len(x) > 2 and x[2] for x in annotations]
    areas = masks.sum(axis=(1, 2)).astype(float)
    ids = np.arange(len(annotations)).astype(object)
    return Target(masks, np.array([x[1] for x in annotations], np.int32), np.array(crowd, bool), areas, ids)


def panoptic_target(ids, class_ids, crowds=()):
    """A target of a map of segment ids from 1, 0 for unlabeled pixels, with the class of each segment."""
    return target([(ids == n, class_id, n in crowds) for n, class_id in class_ids.items()], ids.shape)


def panoptic_result(ids, class_ids, labels=LABELS):
    segments = tuple(
        PanopticSegment(n, class_id, 1.0, int((ids == n).sum()))
        for n, class_id in class_ids.items()
        if (ids == n).any()
    )
    photo, result = np.zeros((*ids.shape, 3), np.uint8), PanopticResult(mx.array(ids), segments)
    return Segmentation.from_panoptic(photo, result, labels)


class FakeInstances:
    """A model's instances, as `Segmentation.from_instances` takes them."""

    def __init__(self, masks, class_ids, scores):
        self._masks, self.label_ids, self.scores = np.array(masks), mx.array(class_ids), mx.array(scores)

    def masks(self, indices):
        return mx.array(self._masks[indices])


def instances_result(masks, class_ids, scores):
    image = np.zeros((*np.shape(masks)[1:], 3), np.uint8)
    return Segmentation.from_instances(image, FakeInstances(masks, class_ids, scores), 0.0, LABELS)


class TestSemantic:
    def result(self, classes):
        return Segmentation.from_semantic(np.zeros((*classes.shape, 3), np.uint8), classes.astype(np.int32), LABELS)

    def test_known_result(self):
        metrics = SemanticMetrics(dataset("semantic"), SAME)
        true = np.array([[0, 0, 0, 0], [1, 1, -1, -1]])
        metrics.update(
            self.result(np.array([[0, 0, 0, 1], [1, 2, 2, 0]])), target([(true == 0, 0), (true == 1, 1)], (2, 4))
        )
        overall, per_class = metrics.compute()
        assert per_class["sky"] == {"IoU": 75.0, "ACC": 75.0}
        assert per_class["sea"] == {"IoU": pytest.approx(100 / 3), "ACC": 50.0}
        assert per_class["boat"] == {"IoU": None, "ACC": None}  # it is not in the ground true
        assert overall["mIoU"] == pytest.approx((75 + 100 / 3) / 2)
        assert overall["fwIoU"] == pytest.approx((75 * 4 + 100 / 3 * 2) / 6)
        assert overall["mACC"] == pytest.approx(62.5)
        assert overall["pACC"] == pytest.approx(400 / 6)

    def test_it_agrees_with_another_evaluator_over_several_images(self):
        rng = np.random.default_rng(0)
        metrics = SemanticMetrics(dataset("semantic"), SAME)
        other = hotcoco.semantic.SemanticEval(list(NAMES), ignore_index=255)
        for _ in range(3):
            true, predicted = rng.integers(0, 4, (20, 30)), rng.integers(0, 3, (20, 30))
            true[true == 3] = 255
            metrics.update(self.result(predicted), target([(true == k, k) for k in range(3)], (20, 30)))
            other.update(true.astype(np.uint8), predicted.astype(np.uint8))
        overall, _ = metrics.compute()
        assert np.array_equal(metrics.confusion[:, :3], other.confusion())
        theirs = other.results()
        assert overall["mIoU"] == pytest.approx(100 * theirs["mIoU"])
        assert overall["fwIoU"] == pytest.approx(100 * theirs["fwIoU"])
        assert overall["mACC"] == pytest.approx(100 * theirs["mAcc"])
        assert overall["pACC"] == pytest.approx(100 * theirs["aAcc"])

    def test_class_ids_are_mapped_and_classes_that_the_dataset_lacks_are_wrong(self):
        metrics = SemanticMetrics(dataset("semantic"), {4: 0, 1: 2})
        true = np.array([[0, 0, 2, 2]])
        class_map = np.array([[4, 5, 1, 0]], np.int32)
        result = Segmentation.from_semantic(np.zeros((1, 4, 3), np.uint8), class_map, dict(enumerate("abcdef")))
        metrics.update(result, target([(true == 0, 0), (true == 2, 2)], (1, 4)))
        assert metrics.confusion.tolist() == [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1]]

    def test_labels_without_a_known_pixel_are_an_error(self):
        with pytest.raises(InputError, match="no pixel has a known class"):
            SemanticMetrics(dataset("semantic"), SAME).compute()


def panoptic_quality(targets, results, thing_ids):
    """PQ by the definition in the paper, sec. 4, with its rules for void pixels and crowds."""
    sums = {class_id: [0.0, 0, 0, 0] for class_id in range(3)}
    for (ids, class_ids, crowds), (predicted_ids, predicted_class_ids) in zip(targets, results, strict=True):
        matched, void = set(), ids == 0
        for n, class_id in class_ids.items():
            if n in crowds or not (ids == n).any():
                continue
            for m, predicted_class_id in predicted_class_ids.items():
                union = ((ids == n) | ((predicted_ids == m) & ~void)).sum()
                iou = ((ids == n) & (predicted_ids == m)).sum() / union
                if predicted_class_id == class_id and iou > 0.5:
                    sums[class_id][0] += iou
                    sums[class_id][1] += 1
                    matched |= {m}
                    break
            else:
                sums[class_id][3] += 1
        for m, predicted_class_id in predicted_class_ids.items():
            mask = predicted_ids == m
            if m not in matched and mask.any():
                ignored = void | np.isin(ids, [n for n in crowds if class_ids[n] == predicted_class_id])
                sums[predicted_class_id][2] += (mask & ignored).sum() / mask.sum() <= 0.5
    pq = {class_id: iou / (tp + fp / 2 + fn / 2) for class_id, (iou, tp, fp, fn) in sums.items() if tp + fp + fn}
    groups = {"PQ": range(3), "PQ_things": thing_ids, "PQ_stuff": set(range(3)) - set(thing_ids)}
    return {
        name: 100 * np.mean([pq[class_id] for class_id in group if class_id in pq]) if set(group) & set(pq) else None
        for name, group in groups.items()
    }


class TestPanoptic:
    def metrics(self, pairs):
        metrics = PanopticMetrics(dataset("panoptic"), SAME)
        for true, predicted in pairs:
            metrics.update(panoptic_result(*predicted), panoptic_target(*true))
        return metrics.compute()

    def test_known_result(self):
        ids = np.repeat([1, 1, 1, 1, 2, 2, 3, 3, 0, 0], 10).reshape(10, 10)
        predicted = np.repeat([1, 1, 1, 2, 2, 2, 0, 0, 3, 4], 10).reshape(10, 10)
        overall, per_class = self.metrics([((ids, {1: 0, 2: 1, 3: 2}), (predicted, {1: 0, 2: 1, 3: 2, 4: 0}))])
        # The sky has an IoU of 30/40, the sea 20/30. The boat is missed. Segments on unlabeled pixels are no errors.
        assert per_class["sky"] == {"PQ": pytest.approx(75), "SQ": pytest.approx(75), "RQ": pytest.approx(100)}
        assert per_class["sea"] == {
            "PQ": pytest.approx(200 / 3),
            "SQ": pytest.approx(200 / 3),
            "RQ": pytest.approx(100),
        }
        assert per_class["boat"] == {"PQ": 0, "SQ": 0, "RQ": 0}
        assert overall["PQ"] == pytest.approx((75 + 200 / 3) / 3)
        assert (overall["PQ_things"], overall["PQ_stuff"]) == (0, pytest.approx((75 + 200 / 3) / 2))

    def test_unlabeled_pixels_do_not_count_in_a_union_and_an_iou_of_a_half_does_not_match(self):
        ids = np.repeat([1, 1, 0, 0, 0, 2], 4).reshape(6, 4)
        predicted = np.repeat([1, 1, 1, 1, 1, 2], 4).reshape(6, 4)
        assert self.metrics([((ids, {1: 2, 2: 2}), (predicted, {1: 2, 2: 2}))])[0]["PQ"] == 100
        half = np.repeat([1, 1, 2, 2], 4).reshape(4, 4)
        overall, _ = self.metrics([((np.ones((4, 4), int), {1: 2}), (half, {1: 2, 2: 0}))])
        assert overall["PQ"] == 0

    def test_segments_on_a_crowd_of_their_class_are_no_errors(self):
        ids = np.repeat([1, 1, 2, 2], 4).reshape(4, 4)
        predicted = np.repeat([1, 1, 2, 2], 4).reshape(4, 4)
        _, per_class = self.metrics([((ids, {1: 0, 2: 2}, [2]), (predicted, {1: 0, 2: 2}))])
        assert per_class["boat"]["PQ"] is None
        _, per_class = self.metrics([((ids, {1: 0, 2: 2}, [2]), (predicted, {1: 0, 2: 1}))])
        assert per_class["sea"]["PQ"] == 0  # on a crowd of another class

    @given(st.lists(st.integers(0, 10_000), min_size=1, max_size=3))
    @settings(max_examples=60, deadline=None)
    def test_it_follows_the_paper(self, seeds):
        targets, results = [], []
        for seed in seeds:
            rng = np.random.default_rng(seed)
            ids = rng.integers(0, 5, 12).repeat(3).reshape(6, 6)
            predicted_ids = np.where(rng.random((6, 6)) < 0.8, ids, rng.integers(0, 5, (6, 6)))
            class_ids = {n: int(rng.integers(3)) for n in range(1, 5) if (ids == n).any()}
            predicted_class_ids = {
                n: class_ids[n] if n in class_ids and rng.random() < 0.8 else int(rng.integers(3)) for n in range(1, 5)
            }
            crowds = {n for n in class_ids if class_ids[n] == 2 and rng.random() < 0.3}
            crowds = set(list(crowds)[:1])  # the panoptic API supports one crowd per class
            targets.append((ids, class_ids, crowds))
            results.append((predicted_ids, predicted_class_ids))
        expected = panoptic_quality(targets, results, {2})
        overall, _ = self.metrics(zip(targets, results, strict=True))
        for name, value in expected.items():
            assert overall[name] == (value if value is None else pytest.approx(value, abs=1e-9)), name

    def test_predictions_of_classes_that_the_dataset_lacks_are_left_out(self):
        ids = np.repeat([1, 2], 8).reshape(4, 4)
        metrics = PanopticMetrics(dataset("panoptic"), {3: 0})
        metrics.update(panoptic_result(ids, {1: 3, 2: 1}, dict(enumerate("abcd"))), panoptic_target(ids, {1: 0, 2: 1}))
        _, per_class = metrics.compute()
        assert (per_class["sky"]["PQ"], per_class["sea"]["PQ"], per_class["boat"]["PQ"]) == (100, 0, None)


class TestInstance:
    def square(self, size, top=0):
        mask = np.zeros((40, 40), bool)
        mask[top : top + size, :size] = True
        return mask

    def metrics(self, annotations, *predicted, thing_ids=(0, 1, 2)):
        metrics = InstanceMetrics(dataset("instance", thing_ids=thing_ids), SAME)
        metrics.update(instances_result(*predicted), target(annotations, (40, 40)))
        return metrics.compute()

    def test_known_results(self, capsys):
        true = [(self.square(10), 0), (self.square(10, 20), 0), (self.square(36), 1)]
        # One sky is found and one is missed. A false positive after all matches does not lower the precision.
        partly = self.square(10)
        partly[:, 8:] = partly[2:, 7] = False
        masks, class_ids, scores = [partly, self.square(36), self.square(4, 30)], [0, 1, 0], [0.9, 0.8, 0.1]
        overall, per_class = self.metrics(true, masks, class_ids, scores)
        assert per_class["sea"] == {"AP": pytest.approx(100), "AP50": pytest.approx(100)}
        # IoU 0.72 passes 5 of 10 thresholds; recall reaches one half: 51 of 101 recall thresholds
        assert per_class["sky"] == {"AP": pytest.approx(100 * 0.5 * 51 / 101), "AP50": pytest.approx(100 * 51 / 101)}
        assert per_class["boat"] == {"AP": None, "AP50": None}
        assert overall["AP"] == pytest.approx((100 + 50 * 51 / 101) / 2)
        assert overall["APl"] is None
        assert overall["APm"] == pytest.approx(100)  # 1296 pixels
        assert capsys.readouterr().out == ""

    def test_instances_on_crowds_are_no_errors(self):
        true = [(self.square(10), 0), (self.square(8, 20), 0, True)]
        masks, class_ids, scores = [self.square(6, 21), self.square(10)], [0, 0], [0.9, 0.8]
        assert self.metrics(true, masks, class_ids, scores)[0]["AP"] == pytest.approx(100)
        assert self.metrics(true[:1], masks, class_ids, scores)[0]["AP"] == pytest.approx(50)

    def test_ap_is_zero_without_predictions_and_none_without_ground_truth(self):
        nothing = (np.zeros((0, 40, 40), bool), np.zeros(0, int), np.zeros(0))
        assert self.metrics([(self.square(9), 0)], *nothing)[0]["AP"] == 0
        assert self.metrics([], [self.square(9)], [0], [0.9])[0]["AP"] is None

    def test_only_things_of_panoptic_labels_count(self):
        true = [(self.square(10), 0), (self.square(10, 20), 2)]
        overall, per_class = self.metrics(true, [self.square(10, 20)], [2], [0.9], thing_ids=(2,))
        assert list(per_class) == ["boat"]
        assert overall["AP"] == pytest.approx(100)


@pytest.fixture(scope="module")
def model():
    model = small_model(1, num_labels=3, init_std=0.5, init_xavier_std=0.15)
    model.config.id2label = {0: "boat", 1: "Sky", 2: "sea"}  # in another order and case
    return model


class TestEvaluate:
    def test_a_dataset_goes_through_the_segmenter(self, model, tmp_path):
        labeled = label_map_dataset(*write_label_maps(tmp_path, 3), NAMES)
        segmenter = Segmenter(model, "semantic", size="32")
        result = evaluate(segmenter, labeled, batch_size=2)
        names = {1: 0, 2: 1, 0: 2}
        hits = total = 0
        for record in labeled.records:
            predicted = np.vectorize(names.get)(segmenter(record.image()).map)
            hits, total = hits + (predicted == SEMANTIC).sum(), total + (SEMANTIC != 255).sum()
        assert (result.task, result.num_images) == ("semantic", 3)
        assert result.metrics["pACC"] == pytest.approx(100 * hits / total)
        assert list(result.per_class) == list(NAMES)

    @pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
    def test_panoptic_labels_serve_every_task(self, model, tmp_path, task):
        raw = panoptic()
        labeled = coco_dataset(*write_coco(tmp_path, raw))
        result = evaluate(Segmenter(model, task, size="32"), labeled)
        assert result.task == task
        assert all(value is None or 0 <= value <= 100 for value in result.metrics.values())

    def test_perfect_predictions_have_perfect_metrics(self, model, tmp_path, monkeypatch):
        scenes = load_scenes()
        folder = write_garments(tmp_path)
        model = small_model(num_labels=15)
        model.config.id2label = dict(enumerate(scenes.CLASS_NAMES))
        by_image = {}
        for task in ("semantic", "instance", "panoptic"):
            labeled = scenes.fashion_scenes("test", 4, task, size=64, folder=folder)
            for record in labeled.records:
                by_image[task, record.image().tobytes()] = record.target()

            def stream(self, photos, *, task=task, **options):
                for photo in photos:
                    true = by_image[task, photo.tobytes()]
                    ids = (true.masks * np.arange(1, len(true.masks) + 1)[:, None, None]).sum(axis=0)
                    if task == "semantic":
                        yield Segmentation.from_semantic(photo, true.class_map(), self.labels)
                    elif task == "panoptic":
                        yield panoptic_result(ids, dict(enumerate(true.class_ids.tolist(), 1)), self.labels)
                    else:
                        instances = FakeInstances(true.masks, true.class_ids, np.ones(len(true.masks)))
                        yield Segmentation.from_instances(photo, instances, 0.0, self.labels)

            monkeypatch.setattr(Segmenter, "stream", stream)
            result = evaluate(Segmenter(model, task), labeled)
            main = {"semantic": "mIoU", "instance": "AP", "panoptic": "PQ"}[task]
            assert next(iter(result.metrics)) == main
            assert result.metrics[main] == pytest.approx(100)

    def test_all_instances_count_without_thresholds(self, model, tmp_path, monkeypatch):
        calls = []
        original = Segmenter.stream
        monkeypatch.setattr(
            Segmenter, "stream", lambda self, images, **o: calls.append(o) or original(self, images, **o)
        )
        raw = instances()
        raw["categories"][1]["name"] = "sky"
        labeled = coco_dataset(*write_coco(tmp_path, raw))
        evaluate(Segmenter(model, "instance", size="32"), labeled)
        evaluate(Segmenter(model, "instance", size="32"), labeled, thresholds=Thresholds(0.3))
        assert [options["thresholds"].threshold for options in calls] == [0.0, 0.3]

    def test_labels_for_another_task_are_an_error(self, model, tmp_path):
        labeled = label_map_dataset(*write_label_maps(tmp_path), NAMES)
        with pytest.raises(InputError, match="labels for semantic segmentation cannot evaluate panoptic"):
            evaluate(Segmenter(model, "panoptic"), labeled)

    def test_labels_of_another_size_than_the_image_are_an_error(self, model, tmp_path):
        images, labels = write_label_maps(tmp_path)
        other, _ = write_label_maps(tmp_path / "other", labels=SEMANTIC[:3])
        labeled = label_map_dataset(images, labels, NAMES)
        records = [replace(record, path=other / record.path.name) for record in labeled.records]
        with pytest.raises(InputError, match=r"0.png is 6x3 pixels, its labels are for 6x4"):
            evaluate(Segmenter(model, "semantic", size="32"), replace(labeled, records=records))


class TestClasses:
    def test_names_match_in_any_case_and_order(self):
        assert match_classes({0: "Boat", 1: "SKY ", 2: "fog"}, {0: "sky", 5: "boat"}) == {0: 5, 1: 0}

    def test_classes_that_the_model_lacks_are_an_error(self):
        with pytest.raises(
            InputError, match=r"does not know 2 of the 3 classes of the dataset: sea, bots; is 'sea'"
        ) as raised:
            match_classes({0: "sky", 1: "boats", 2: "sean"}, {0: "sky", 1: "sea", 2: "bots"})
        assert str(raised.value).endswith("is 'sea' its 'sean'?")


class TestReport:
    evaluation = Evaluation("semantic", 5, {"mIoU": 41.234, "pACC": None}, {"sky": {"IoU": 50.0}, "sea": {"IoU": None}})

    def test_tables(self):
        lines = self.evaluation.table().splitlines()
        assert lines == ["mIoU  41.23", "pACC      -", "", "class    IoU", "sky    50.00", "sea        -"]
        assert str(self.evaluation) == "mIoU 41.23, pACC -"

    def test_json_restores_it(self, tmp_path):
        (tmp_path / "a.json").write_text(json.dumps(self.evaluation.to_json()))
        assert Evaluation.from_json(tmp_path / "a.json") == self.evaluation

    def test_two_are_compared_by_metric_and_class(self):
        other = Evaluation("semantic", 5, {"mIoU": 40.0}, {"sky": {"IoU": 60.0}, "fog": {"IoU": 1.0}})
        lines = [line.split() for line in self.evaluation.compare(other).splitlines()]
        assert lines == [
            ["this", "other", "change"], ["mIoU", "41.23", "40.00", "+1.23"], ["pACC", "-", "-", "-"],
            ["IoU", "sky", "50.00", "60.00", "-10.00"], ["IoU", "sea", "-", "-", "-"],
        ]  # fmt: skip
        with pytest.raises(InputError, match="metrics of semantic segmentation cannot be compared with"):
            self.evaluation.compare(replace(other, task="panoptic"))

    @pytest.mark.parametrize(
        "text", ["{}", "[]", "no", '{"task": 1, "num_images": 1, "metrics": {"a": "b"}, "per_class": {}}']
    )
    def test_other_files_are_an_error(self, tmp_path, text):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match=r"a.json (is not (the )?JSON|must hold the JSON of an evaluation)"):
            Evaluation.from_json(tmp_path / "a.json")
        with pytest.raises(InputError, match=r"none.json does not exist; expected the JSON of an evaluation"):
            Evaluation.from_json(tmp_path / "none.json")
