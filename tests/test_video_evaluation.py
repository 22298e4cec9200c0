"""The AP of tracks, as YouTube-VIS measures it; the annotations that it is measured on."""

import gzip
import json
from copy import deepcopy
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from helpers import DATA, run_cli, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from labeled import write_image
from mlx.utils import tree_flatten
from pycocotools import mask as coco_mask

from lucid_mlx.data import youtube_vis_dataset
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation import Evaluation, evaluate_video_results, evaluate_videos
from lucid_mlx.evaluation.video import side_by_side
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.results import VideoSegmentation
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.video.video_segmenter import VideoSegmenter
from lucid_mlx.weights import write_checkpoint


def rle(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def box(left, top, right, bottom, size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return rle(mask)


def annotations():
    """Two videos: two cats of which one leaves, a crowd of dogs; and a dog."""
    videos = [
        {"id": 4, "height": 20, "width": 30, "length": 3, "file_names": [f"b/{frame}.png" for frame in range(3)]},
        {"id": 1, "height": 20, "width": 30, "length": 2, "file_names": [f"a/{frame}.png" for frame in range(2)]},
    ]
    tracks = [
        (4, 1, 0, [box(0, 0, 10, 10), box(1, 0, 11, 10), None]),
        (4, 1, 0, [box(15, 5, 25, 15), box(16, 5, 26, 15), box(17, 5, 27, 15)]),
        (4, 2, 1, [box(0, 15, 30, 20)] * 3),
        (1, 2, 0, [None, box(5, 5, 15, 15)]),
    ]
    return {
        "videos": videos,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {
                "id": number,
                "video_id": video_id,
                "category_id": category_id,
                "iscrowd": crowd,
                "segmentations": masks,
                "areas": [None if mask is None else int(coco_mask.area(mask)) for mask in masks],
            }
            for number, (video_id, category_id, crowd, masks) in enumerate(tracks, 1)
        ],
    }


def perfect(truth):
    return [
        {key: deepcopy(one[key]) for key in ("video_id", "category_id", "segmentations")} | {"score": 0.9 - 0.1 * index}
        for index, one in enumerate(truth["annotations"])
        if not one["iscrowd"]
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measure(truth, results):
    for name, value in (("truth.json", truth), ("results.json", results)):
        Path(name).write_text(json.dumps(value))
    return evaluate_video_results(youtube_vis_dataset("truth.json"), "results.json")


def test_figures_are_those_of_the_public_evaluation(folder):
    """Recorded from YTVOSeval (github.com/youtubevos/cocoapi), as mmdet 3.3.0 carries it, on random videos."""
    data = json.loads(gzip.decompress((DATA / "youtube_vis.json.gz").read_bytes()))
    result = measure(data["annotations"], data["results"])
    assert list(result.metrics) == ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10"]
    assert result.metrics == pytest.approx(data["expected"], abs=1e-9)
    assert len(set(result.metrics.values())) == 8
    assert (result.task, result.num_images) == ("video", len(data["annotations"]["videos"]))


def test_perfect_results_have_all_of_it(folder):
    truth = annotations()
    result = measure(truth, perfect(truth))
    ap = dict.fromkeys(("AP", "AP50", "AP75", "APs", "AR10"), 100.0)
    assert result.metrics == pytest.approx({**ap, "AR1": 75.0, "APm": None, "APl": None})  # AR1: a cat of two, the dog
    assert result.per_class.keys() == {"cat", "dog"}
    for metrics in result.per_class.values():
        assert metrics == pytest.approx({"AP": 100.0, "AP50": 100.0})


def test_an_identity_that_is_exchanged_costs_the_overlap_over_all_frames(folder):
    truth = annotations()
    results = perfect(truth)
    first, second = (results[index]["segmentations"] for index in (0, 1))
    first[1], second[1] = second[1], first[1]
    # The first cat: 100 of 300 pixels; the second: 200 of 400. Of two results the second is right, at 0.5 alone: a
    # precision of 0.5 up to a recall of 0.5, which is 51 of 101 places.
    result = measure(truth, results)
    assert result.per_class["dog"]["AP"] == pytest.approx(100.0)
    assert result.per_class["cat"]["AP50"] == pytest.approx(100 * 0.5 * 51 / 101)
    assert result.metrics["AP75"] == pytest.approx(50.0)


def test_what_lies_on_a_crowd_is_no_error_if_their_union_is_not_much_larger(folder):
    truth = annotations()
    on_crowd = {"video_id": 4, "category_id": 2, "score": 0.99, "segmentations": [box(0, 15, 30, 20)] * 3}
    assert measure(truth, [*perfect(truth), on_crowd]).per_class["dog"]["AP"] == pytest.approx(100.0)
    # In photos COCO takes the share of what was found; YouTube-VIS takes the intersection over the union.
    small = {**on_crowd, "segmentations": [box(0, 15, 4, 20)] * 3}
    assert measure(truth, [*perfect(truth), small]).per_class["dog"]["AP"] == pytest.approx(50.0)


def test_nothing_found_is_zero(folder):
    result = measure(annotations(), [])
    assert (result.metrics["AP"], result.metrics["AR1"], result.metrics["APl"]) == (0.0, 0.0, None)


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**20 - 1)), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_masks_side_by_side_are_the_mask_of_the_wide_picture(bits):
    size = (4, 5)
    masks = [None if x is None else np.array([x >> k & 1 for k in range(20)], bool).reshape(size) for x in bits]
    area, wide = side_by_side([None if mask is None else rle(mask) for mask in masks], size)
    picture = np.concatenate([np.zeros(size, bool) if mask is None else mask for mask in masks], axis=1)
    assert np.array_equal(coco_mask.decode(wide), picture)
    assert wide["counts"].decode() == rle(picture)["counts"]
    seen = [mask.sum() for mask in masks if mask is not None and mask.any()]
    assert area == pytest.approx(np.mean(seen) if seen else 0)


# -- annotation files


def test_annotations_are_read(folder):
    truth = annotations()
    truth["annotations"][0]["segmentations"][0] = {"size": [20, 30], "counts": [0, 600]}
    truth["annotations"][0]["segmentations"][1] = [[0, 0, 10, 0, 10, 10, 0, 10]]
    (folder / "truth.json").write_text(json.dumps(truth))
    for video in truth["videos"]:
        for name in video["file_names"]:
            write_image(folder / "JPEGImages" / name, (20, 30))
    dataset = youtube_vis_dataset("truth.json", "JPEGImages")
    assert (dataset.class_names, dataset.class_ids) == (("cat", "dog"), {1: 0, 2: 1})
    first, second = dataset.videos
    assert (first.id, first.name, len(first.frames), len(first.objects)) == (1, "a", 2, 1)
    assert [(one.class_id, one.crowd, one.area) for one in second.objects] == [(0, 0, 100), (0, 0, 100), (1, 1, 150)]
    assert second.frames[0].is_file()


def broken(change):
    truth = annotations()
    change(truth)
    return truth


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.update(annotations=None), "without annotations, as YouTube-VIS publishes its validation set"),
        (lambda x: x.pop("categories"), "has no list of categories"),
        (lambda x: x["videos"][0].pop("file_names"), "video 4 has no list of file_names"),
        (lambda x: x["videos"][0].update(id=1), "video 1 is listed twice"),
        (lambda x: x["videos"][0].update(height=0), "video 4 has no height and width"),
        (lambda x: x["videos"][0]["file_names"].__setitem__(0, "../../x"), "expected a path in the folder"),
        (lambda x: x["annotations"][0].update(segmentations=[]), "annotation 1 has 0 segmentations; expected one, or"),
        (lambda x: x["annotations"][0].update(iscrowd=7), "annotation 1 has iscrowd=7"),
        (lambda x: x["annotations"][0]["segmentations"].__setitem__(0, {"size": [9, 9], "counts": [81]}),
         "annotation 1 has a mask with run lengths for an image of another size"),
    ],
)  # fmt: skip
def test_broken_annotations_are_one_sentence(folder, change, message):
    (folder / "truth.json").write_text(json.dumps(broken(change)))
    with pytest.raises(InputError, match=message):
        youtube_vis_dataset("truth.json")


def test_what_fits_no_video_or_category_is_left_out_and_told(folder):
    truth = annotations()
    truth["annotations"].append({**truth["annotations"][0], "id": 9, "video_id": 77})
    truth["annotations"].append({**truth["annotations"][0], "id": 10, "category_id": 77})
    (folder / "truth.json").write_text(json.dumps(truth))
    with pytest.warns(UserWarning, match="1 annotation left out: of a") as told:
        dataset = youtube_vis_dataset("truth.json")
    assert len(told) == 2
    assert sum(len(video.objects) for video in dataset.videos) == 4


def test_missing_frames_are_told_before_anything_runs(folder):
    (folder / "truth.json").write_text(json.dumps(annotations()))
    (folder / "JPEGImages").mkdir()
    with pytest.raises(InputError, match=r"does not exist: 3 of the 3 frames of video 4"):
        youtube_vis_dataset("truth.json", "JPEGImages")
    with pytest.raises(InputError, match="is no folder"):
        youtube_vis_dataset("truth.json", "nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 77}, "result 0 is of video 77, which the annotations do not list"),
        ({"score": None}, "result 0 has the score None; expected a number"),
        ({"score": float("nan")}, "result 0 has the score nan"),
        ({"segmentations": [None]}, "result 0 has 1 segmentations; expected one, or null, for each of the 3 frames"),
    ],
)
def test_results_that_do_not_fit_are_one_sentence(folder, change, message):
    truth = annotations()
    results = perfect(truth)
    results[0] |= change
    with pytest.raises(InputError, match=message):
        measure(truth, results)
    with pytest.raises(InputError, match="must hold a list of results"):
        measure(truth, {})
    results = [{**perfect(truth)[0], "category_id": 77}]
    with pytest.warns(UserWarning, match="1 result left out: of a category"):
        measure(truth, results)


# -- networks


@pytest.fixture
def frames(folder):
    truth = annotations()
    (folder / "truth.json").write_text(json.dumps(truth))
    for number, video in enumerate(truth["videos"]):
        for index, name in enumerate(video["file_names"]):
            write_image(folder / "JPEGImages" / name, (20, 30), 10 * number + index)
    return folder


def network(*names):
    model = small_model(num_labels=len(names))
    model.config.id2label = dict(enumerate(names))
    return model


def test_a_network_is_measured_by_what_it_exports(frames):
    """The evaluation of a network is that of the results that it writes, video by video."""
    segmenter = VideoSegmenter(Segmenter(network("Dog", "bird", "cat"), "instance", size="32x32"))
    dataset = youtube_vis_dataset("truth.json", "JPEGImages")
    got = evaluate_videos(segmenter, dataset, thresholds=Thresholds(threshold=0.0))
    results = []
    for video in dataset.videos:
        found = VideoSegmentation("instance", segmenter.segmenter.labels)
        for frame in segmenter.stream(video.frames, threshold=0.0):
            found.add(frame)
        results += found.to_youtube_vis(video.id, {0: 2, 1: 99, 2: 1})
    assert {one["category_id"] for one in results} & {1, 2}
    (frames / "results.json").write_text(json.dumps([one for one in results if one["category_id"] != 99]))
    assert got == evaluate_video_results(dataset, "results.json")
    with pytest.raises(InputError, match="the model does not know 1 of the 2 classes of the dataset: dog"):
        evaluate_videos(VideoSegmenter(Segmenter(network("cat", "bird"), "instance", size="32x32")), dataset)
    with pytest.raises(InputError, match="cannot evaluate panoptic segmentation"):
        evaluate_videos(VideoSegmenter(Segmenter(network("cat", "dog"), "panoptic", size="32x32")), dataset)


def test_the_verb_measures_a_file_of_results(frames):
    (frames / "results.json").write_text(json.dumps(perfect(annotations())))
    given = ("--results", "results.json", "--annotations", "truth.json")
    result = run_cli("eval", *given, "--output", "metrics.json")
    assert [line.split() for line in result.stdout.splitlines()[:3]] == [
        ["AP", "100.00"], ["AP50", "100.00"], ["AP75", "100.00"],
    ]  # fmt: skip
    assert Evaluation.from_json("metrics.json").metrics["AR1"] == 75.0
    assert "2 videos -> metrics.json" in result.stderr
    assert "change" in run_cli("eval", *given, "--compare", "metrics.json").stdout
    told = run_cli("eval", *given, "--batch-size", "2", "--reduce-zero-label").stderr
    assert "--batch-size changes nothing with --results" in told
    assert "--reduce-zero-label changes nothing for labeled videos" in told


def test_the_verb_measures_a_network(frames):
    model = network("dog", "cat")
    arrays: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    write_checkpoint("model", model.config.to_dict(), arrays, {"task": "panoptic"}, {"size": 32})
    given = ("--weights", "model", "--images", "JPEGImages", "--annotations", "truth.json", "--size", "32x32")
    result = run_cli("eval", *given, "--limit", "1")
    assert result.stdout.startswith("AP ")
    assert "tracks in 1 videos" in result.stderr
    assert "expected the task instance" in run_cli("eval", *given, "--task", "semantic", code=2).stderr
    assert "name the folder with the images" in run_cli("eval", *given[:2], *given[4:], code=2).stderr
    assert "--weights is missing" in run_cli("eval", *given[2:], code=2).stderr
    (frames / "frame.json").write_text("[]")
    result = run_cli("eval", *given, "--output", "JPEGImages/a/0.png", "--force", code=2)
    assert "is also an input" in result.stderr


def test_results_are_for_videos_alone(frames):
    (frames / "coco.json").write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    result = run_cli("eval", "--results", "results.json", "--annotations", "coco.json", code=2)
    assert "--results is for labeled videos" in result.stderr
