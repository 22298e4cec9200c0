"""Open a labeled dataset in any of the supported formats."""

from collections.abc import Sequence
from os import PathLike

from lucid_mlx.data.coco import coco_dataset
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.label_maps import IGNORE_INDEX, label_map_dataset
from lucid_mlx.datasets import DATASETS, dataset_classes
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path, read_text


def open_dataset(
    images: str | PathLike[str],
    annotations: str | PathLike[str],
    *,
    panoptic_folder: str | PathLike[str] | None = None,
    class_names: str | PathLike[str] | Sequence[str] | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool = False,
) -> Dataset:
    """Open labeled images: COCO's JSON, of instances or panoptic, or a folder of label maps.

    Args:
        images: the folder with the images.
        annotations: the JSON file, or the folder with the label maps.
        panoptic_folder: the folder with the PNGs of a panoptic JSON. None for the folder that is called as the file
            without `.json`.
        class_names: the names of the classes of label maps, by label: a sequence, a text file with one name in each
            line, or a dataset that `lucid_mlx.datasets` knows, such as "ade20k_semantic". COCO's JSON has its own.
        ignore_index: the label of pixels that are ignored; for label maps only.
        reduce_zero_label: also ignore label 0, and subtract 1 from the other labels, as for ADE20K; for label maps
            only.

    Returns:
        The dataset.

    Raises:
        InputError: if something is missing, unreadable or contradictory; or class names are given for COCO's JSON.
    """
    if local_path(annotations, "annotations").is_dir():
        if class_names is None:
            raise InputError(
                f"{annotations} is a folder of label maps; give class names, such as a text file with one in each line"
            )
        return label_map_dataset(
            images,
            annotations,
            _read_class_names(class_names),
            ignore_index=ignore_index,
            reduce_zero_label=reduce_zero_label,
        )
    if class_names is not None:
        raise InputError(f"{annotations} has its own class names; give class names only for a folder of label maps")
    return coco_dataset(images, annotations, panoptic_folder)


def _read_class_names(class_names: str | PathLike[str] | Sequence[str]) -> Sequence[str]:
    if not isinstance(class_names, str | PathLike):
        return class_names
    if class_names in DATASETS:
        return [entry.name for entry in dataset_classes(str(class_names))]
    lines = read_text(
        local_path(class_names, "class_names"), "a text file with one class name in each line"
    ).splitlines()
    return [line.strip() for line in lines if line.strip()]
