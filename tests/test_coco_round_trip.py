"""What `segment` writes in COCO's formats is read by COCO's own tools, by `eval` and by `train`."""

import json
import re
import shutil

import mlx.core as mx
import numpy as np
import pytest
from helpers import SCENE, SCENES, run_cli, small_config
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from runs import small_run, train

import lucid_mlx
from lucid_mlx import InputError, Segmenter
from lucid_mlx.data import open_dataset
from lucid_mlx.datasets import dataset_classes
from lucid_mlx.models import Mask2Former
from lucid_mlx.results import coco_categories
from lucid_mlx.training.config import DatasetConfig
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A folder with photos, `trip`, and what was found in them."""
    folder = tmp_path_factory.mktemp("round-trip")
    (folder / "trip").mkdir()
    shutil.copy(SCENE, folder / "trip/7.png")
    Image.open(SCENE).transpose(Image.Transpose.ROTATE_90).save(folder / "trip/000000000012.png")
    formats = ("--format", "coco,coco-results,panoptic", "--threshold", "0.3")
    run_cli("segment", folder / "trip", "--weights", SCENES, "-o", folder / "found", *formats)
    return folder


def coco_weights(folder, dataset="coco_panoptic"):
    """A small network with the classes of COCO; what it finds does not matter."""
    names = [entry.name for entry in dataset_classes(dataset)]
    mx.random.seed(1)
    model = Mask2Former(small_config(num_labels=len(names), init_std=1.0))
    model.config.id2label = dict(enumerate(names))
    image_config = {"size": {"height": 64, "width": 64}}
    metadata = {"dataset": dataset, "source": "mine"}
    return write_checkpoint(folder / "weights", model.config.to_dict(), named_parameters(model), metadata, image_config)


def test_images_have_their_numbers_and_their_names_from_the_folder_of_photos(found):
    for name in ("coco", "panoptic"):
        images = read(found / f"found/{name}.json")["images"]
        assert [(image["id"], image["file_name"]) for image in images] == [(12, "000000000012.png"), (7, "7.png")]
    assert {result["image_id"] for result in read(found / "found/coco-results.json")} == {7, 12}


def test_pycocotools_reads_annotations_and_results(found, capsys):
    truth = COCO(str(found / "found/coco.json"))
    results = truth.loadRes(str(found / "found/coco-results.json"))
    for one, other in zip(truth.loadAnns(truth.getAnnIds()), results.loadAnns(results.getAnnIds()), strict=True):
        assert one["area"] == other["area"]
        assert np.array_equal(truth.annToMask(one), results.annToMask(other))
    evaluation = COCOeval(truth, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0


def test_the_panoptic_files_obey_the_rules_of_panopticapi(found):
    """As `pq_compute` does: PNGs are in the folder named as the JSON, and both have the same segments."""
    file = found / "found/panoptic.json"
    panoptic = read(file)
    categories = {entry["id"]: entry for entry in panoptic["categories"]}
    assert {entry["isthing"] for entry in categories.values()} == {0, 1}
    assert [one["image_id"] for one in panoptic["annotations"]] == [image["id"] for image in panoptic["images"]]
    for annotation in panoptic["annotations"]:
        png = np.array(Image.open(str(file).replace(".json", "") + "/" + annotation["file_name"]), np.uint32)
        ids, counts = np.unique(png @ np.array([1, 256, 65536], np.uint32), return_counts=True)
        areas = dict(zip(ids.tolist(), counts.tolist(), strict=True))
        areas.pop(0, None)
        assert areas == {segment["id"]: segment["area"] for segment in annotation["segments_info"]}
        assert all(segment["category_id"] in categories for segment in annotation["segments_info"])
        assert all(segment["iscrowd"] == 0 for segment in annotation["segments_info"])


def test_our_own_evaluation_finds_what_was_found(found):
    arguments = ("--weights", SCENES, "--threshold", "0.3", "--images", found / "trip")
    told = run_cli("eval", *arguments, "--task", "panoptic", "--annotations", found / "found/panoptic.json").stdout
    assert re.search(r"PQ +100\.00", told)


def test_we_train_on_what_was_found(found, tmp_path):
    for name, task in (("panoptic", "panoptic"), ("coco", "instance")):
        annotations = str(found / f"found/{name}.json")
        assert open_dataset(found / "trip", annotations).task == task
        dataset = DatasetConfig(str(found / "trip"), annotations)
        config = small_run(tmp_path / name, train=dataset, validation=None, steps=1)
        train(config, tmp_path / f"{name}-model")


@pytest.mark.parametrize(
    ("dataset", "first", "last"),
    [
        ("coco_panoptic", ("person", 1), ("rug-merged", 200)),
        ("coco_instance", ("person", 1), ("toothbrush", 90)),
        ("cityscapes_panoptic", ("road", 7), ("bicycle", 33)),
        ("ade20k_instance", ("bed", 7), ("flag", 149)),
        ("mapillary_vistas_panoptic", ("Bird", 1), ("Ego Vehicle", 65)),
    ],
)
def test_categories_have_the_ids_of_the_dataset(dataset, first, last, tmp_path):
    segmenter = Segmenter(coco_weights(tmp_path, dataset))
    categories = coco_categories(segmenter.labels, segmenter.thing_ids, segmenter.category_ids)
    assert [(one["name"].strip(), one["id"]) for one in (categories[0], categories[-1])] == [first, last]
    assert [one["isthing"] for one in categories] == [int(entry.is_thing) for entry in dataset_classes(dataset)]


def test_the_command_line_numbers_categories_as_asked(tmp_path):
    weights = coco_weights(tmp_path)
    shutil.copy(SCENE, tmp_path)
    sets = {}
    for ids in ("dataset", "contiguous"):
        options = ("--format", "coco,coco-results,panoptic", "--category-ids", ids, "--threshold", "0")
        run_cli("segment", tmp_path / "scene.png", "--weights", weights, "-o", tmp_path / ids, *options)
        coco, panoptic = (read(tmp_path / ids / f"{name}.json") for name in ("coco", "panoptic"))
        assert coco["categories"] == panoptic["categories"]
        sets[ids] = [entry["id"] for entry in coco["categories"]]
        used = {entry["category_id"] for entry in coco["annotations"]}
        assert used
        assert used == {entry["category_id"] for entry in read(tmp_path / ids / "coco-results.json")}
        assert used == {segment["category_id"] for segment in panoptic["annotations"][0]["segments_info"]}
        assert used <= set(sets[ids])
    assert sets["contiguous"] == list(range(133))
    assert sets["dataset"][79:82] == [90, 92, 93]


def test_python_has_the_same(found):
    segmenter = Segmenter(SCENES)
    assert segmenter.category_ids is None  # of no known dataset
    result = segmenter(found / "trip/7.png")
    assert [one["category_id"] for one in result.to_coco()] == [one.label_id for one in result.segments]
    ids = {number: number + 100 for number in result.labels}
    assert [one["category_id"] for one in result.to_coco(category_ids=ids)] == [
        one.label_id + 100 for one in result.segments
    ]
    assert result.to_coco_results(3, ids)[0]["category_id"] >= 100
    with pytest.raises(InputError, match="category_ids has no category for the class"):
        result.to_panoptic_png(category_ids={})
    assert lucid_mlx.results.coco_categories({0: "a"}) == [{"id": 0, "name": "a", "isthing": 1}]
