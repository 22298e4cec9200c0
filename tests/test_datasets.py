import pytest

from lucid_mlx import InputError
from lucid_mlx.datasets import DATASETS, dataset_classes


@pytest.mark.parametrize(
    ("dataset", "classes", "things"),
    [
        ("coco_panoptic", 133, 80),
        ("coco_instance", 80, 80),
        ("ade20k_semantic", 150, 100),
        ("ade20k_panoptic", 150, 100),
        ("ade20k_instance", 100, 100),
        ("cityscapes_semantic", 19, 8),
        ("cityscapes_panoptic", 19, 8),
        ("cityscapes_instance", 8, 8),
        ("mapillary_vistas_semantic", 65, 37),
        ("mapillary_vistas_panoptic", 65, 37),
        ("youtube_vis_2019_instance", 40, 40),
        ("youtube_vis_2021_instance", 40, 40),
        ("ovis_instance", 25, 25),
    ],
)
def test_every_dataset_has_its_classes_and_things(dataset, classes, things):
    listed = dataset_classes(dataset)
    assert (len(listed), sum(entry.is_thing for entry in listed)) == (classes, things)
    assert len({entry.name for entry in listed}) == classes
    assert all(len(entry.color) == 3 and 0 <= min(entry.color) <= max(entry.color) <= 255 for entry in listed)


def test_all_datasets_are_tested_above():
    assert len(DATASETS) == 13


def test_the_classes_are_in_training_order():
    assert [entry.name for entry in dataset_classes("cityscapes_semantic")][:3] == ["road", "sidewalk", "building"]
    assert dataset_classes("coco_panoptic")[0].name == "person"
    assert dataset_classes("ade20k_semantic")[0].name == "wall"
    names = [[entry.name for entry in dataset_classes(f"youtube_vis_{year}_instance")] for year in (2019, 2021)]
    assert [name[place] for name in names for place in (0, 10, -1)] == [
        *("person", "hand", "tennis_racket"),
        *("airplane", "earless_seal", "zebra"),
    ]
    assert [entry.category_id for entry in dataset_classes("ovis_instance")] == list(range(1, 26))


def test_an_unknown_dataset_is_told():
    with pytest.raises(InputError, match="'imagenet'; known are coco_panoptic"):
        dataset_classes("imagenet")
