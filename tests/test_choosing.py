"""docs/choosing.md agrees with the catalog and the image configurations."""

import re
import runpy

import pytest
from helpers import PHOTO

from lucid_mlx.datasets import dataset_classes
from lucid_mlx.preprocessing import published_image_config
from lucid_mlx.weights.catalog import catalog

DOCS = PHOTO.parents[1] / "docs"
PAGE = (DOCS / "choosing.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def table():
    return re.search(r"<!-- table -->\n(.*)<!-- end of table -->", PAGE, re.DOTALL)[1]


def test_the_table_is_the_output_of_the_script(table, capsys):
    runpy.run_path(str(DOCS / "checkpoint_table.py"), run_name="__main__")
    assert table.strip() == capsys.readouterr().out.strip(), "run docs/checkpoint_table.py and put in what it prints"


def test_every_model_of_the_catalog_is_in_the_table_once_with_its_own_numbers(table):
    section = {
        task.lower(): rows for task, rows in re.findall(r"### (\w+)\n\n(.*?)(?=\n### |\Z)", table.strip(), re.DOTALL)
    }
    for model in catalog():
        (row,) = [row for row in table.splitlines() if f"`{model.name}`" in row]
        assert row in section[model.task]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[0].lower().replace(" ", "_") == model.dataset.rsplit("_", 1)[0]
        assert cells[1][:6].lower() == f"swin-{model.size[0]}"
        assert cells[3:6] == [f"{model.num_parameters * 4 / 1e6:.0f}", str(model.num_queries), model.metric or "-"]


@pytest.mark.parametrize(
    ("text", "dataset"),
    [
        ("COCO, panoptic: 133", "coco_panoptic"),
        ("COCO, instance: 80", "coco_instance"),
        ("ADE20K, semantic: 150", "ade20k_semantic"),
        ("Cityscapes: 19", "cityscapes_panoptic"),
        ("classes, 8", "cityscapes_instance"),
        ("Mapillary Vistas: 65", "mapillary_vistas_panoptic"),
    ],
)
def test_the_numbers_of_classes_are_those_of_the_datasets(text, dataset):
    assert text in PAGE
    assert int(text.split()[-1]) == len(dataset_classes(dataset))


@pytest.mark.parametrize(
    ("name", "dataset", "backbone"),
    [
        ("COCO", "coco_panoptic", "swin_tiny"),
        ("ADE20K, semantic, Swin-T and Swin-S", "ade20k_semantic", "swin_small"),
        ("ADE20K, others", "ade20k_semantic", "swin_base"),
        ("ADE20K, others", "ade20k_panoptic", "swin_large"),
        ("Cityscapes", "cityscapes_instance", "swin_base"),
        ("Mapillary Vistas", "mapillary_vistas_semantic", "swin_large"),
    ],
)
def test_the_sizes_are_the_published_ones(name, dataset, backbone):
    image_config = published_image_config(dataset, backbone)
    height, width = image_config.content_size(3000, 4000)
    assert f"| {name} | {image_config.shortest_edge}, {image_config.longest_edge} | {width}x{height} |" in PAGE
