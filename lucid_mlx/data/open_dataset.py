"""Any labeled images, by what their annotations are."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from lucid_mlx.data.coco import coco_dataset
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.label_maps import IGNORE, label_maps
from lucid_mlx.datasets import DATASETS, dataset_classes
from lucid_mlx.errors import InputError


def open_dataset(
    images: str | PathLike[str],
    annotations: str | PathLike[str],
    *,
    panoptic_folder: str | PathLike[str] | None = None,
    names: str | PathLike[str] | Sequence[str] | None = None,
    ignore: int = IGNORE,
    reduce: bool = False,
) -> Dataset:
    """Open labeled images: COCO's instances or panoptic JSON, or a folder of label maps.

    Args:
        images: the folder with the images.
        annotations: the JSON file, or the folder.
        panoptic_folder: as `pictures` of `coco_dataset`.
        names: of the classes of label maps: a sequence, a text file with a name in each line, or a dataset that
            `lucid_mlx.datasets` knows, such as "ade20k_semantic".
        ignore, reduce: of label maps, as for `label_maps`.

    Raises:
        InputError: if something is missing, unreadable or contradictory; or names go with other annotations.
    """
    if Path(annotations).is_dir():
        if names is None:
            raise InputError(f"{annotations} is a folder of label maps; name their classes, by a file with one a line")
        return label_maps(images, annotations, _names(names), ignore=ignore, reduce=reduce)
    if names is not None:
        raise InputError(f"{annotations} names its classes itself; names go with a folder of label maps")
    return coco_dataset(images, annotations, panoptic_folder)


def _names(names: str | PathLike[str] | Sequence[str]) -> Sequence[str]:
    if not isinstance(names, str | PathLike):
        return names
    if names in DATASETS:
        return [entry.name for entry in dataset_classes(str(names))]
    try:
        lines = Path(names).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{names} cannot be read: {error}; expected a file with the name of a class a line") from error
    return [line.strip() for line in lines if line.strip()]
