"""The public checkpoints that have a name here, by their publishers."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from lucid_mlx.datasets import dataset_classes, dataset_task
from lucid_mlx.weights import enums
from lucid_mlx.weights.registry import ZOO_LICENSE, WeightEntry, WeightsEnum

SWIN_SIZES = ("tiny", "small", "base", "large")

# MMDetection's issues 12445 to 12447, of June 2026. mmengine keeps what it downloads where torch.hub does.
OPENMMLAB_SERVER = "https://download.openmmlab.com/"
OPENMMLAB_NOTE = (
    "OpenMMLab's server did not answer in June 2026; a file that you have, such as in ~/.cache/torch/hub/checkpoints, "
    "is read by its path"
)

_NON_COMMERCIAL = re.compile(r"(^|-)nc(-|$)|non-?commercial")


@dataclass(frozen=True)
class CatalogEntry:
    """A public checkpoint.

    Attributes:
        name: for `lucid_mlx.load` and the command line.
        size: of its Swin backbone, one of `SWIN_SIZES`; empty for another backbone.
        dataset: that it was trained on, one of `lucid_mlx.datasets.DATASETS`, or such as "garments_panoptic".
        num_queries: number of queries.
        num_parameters: number of parameters.
        metric: published accuracy at the original test size; empty if it is not certain which model this is.
        license: of the weights, as the Hugging Face hub writes it.
        bytes_per_parameter: in its file.
        address: of its file; empty if the name tells.
        trained_on: "clips" for a network that sees all frames of a clip at once, else "images".
        backbone: its name in the model registry, such as "resnet_50"; empty for the demo's.
    """

    name: str
    size: str
    dataset: str
    num_queries: int
    num_parameters: int
    metric: str
    license: str = ZOO_LICENSE
    bytes_per_parameter: int = 4
    address: str = ""
    trained_on: str = "images"
    backbone: str = ""

    @property
    def task(self) -> str:
        """The task that it was trained for, one of `lucid_mlx.datasets.TASKS`."""
        return dataset_task(self.dataset)


DEMO = CatalogEntry(
    "demo", "", "people_and_garments_panoptic", 40, 7_774_612, "mIoU 22.3", "bsd-2-clause", bytes_per_parameter=2
)
"""The checkpoint that comes with the package: it needs no network."""


@lru_cache
def catalog() -> tuple[CatalogEntry, ...]:
    """Return the checkpoints of lucid's registry, then the official ones on the Hugging Face hub."""
    official = tuple(_official())
    metrics: dict[tuple[str, str], list[str]] = {}
    for model in official:
        metrics.setdefault((model.size, model.dataset), []).append(model.metric)
    return (*_registered(metrics), *official)


@lru_cache
def video_catalog() -> tuple[CatalogEntry, ...]:
    """Return the checkpoints for videos: the original project's, trained on clips, then MinVIS's, trained on images.

    MinVIS's repository has a few that were trained on a part of the annotations: 10, 5 or 1 percent of the frames.
    """
    return tuple(_listed("video_models.tsv"))


@lru_cache
def openmmlab_catalog() -> tuple[CatalogEntry, ...]:
    """Return OpenMMLab's checkpoints for images: MMDetection's of COCO, MMSegmentation's of ADE20K and Cityscapes.

    Addresses and accuracies are those of their model zoos, `configs/mask2former` in either repository.
    """
    return tuple(_listed("openmmlab_models.tsv"))


def all_checkpoints() -> tuple[CatalogEntry, ...]:
    """Return every public checkpoint that has a name; not the one that comes with the package."""
    return (*catalog(), *openmmlab_catalog(), *video_catalog())


def is_non_commercial(license: str) -> bool:
    """Return whether a license, as the hub writes it, is for non-commercial use alone."""
    return _NON_COMMERCIAL.search(license.lower()) is not None


def _listed(table: str) -> Iterator[CatalogEntry]:
    """Read a table of checkpoints whose addresses are in it."""
    text = (files("lucid_mlx.weights") / table).read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        yield CatalogEntry(
            row["name"],
            row["backbone"].removeprefix("swin_") if row["backbone"].startswith("swin_") else "",
            row["dataset"],
            int(row["queries"]),
            int(row["parameters"]),
            row["published metric"],
            row["license"],
            address=row["address"],
            trained_on=row["trained on"],
            backbone=row["backbone"],
        )


def _registered(metrics: dict[tuple[str, str], list[str]]) -> Iterator[CatalogEntry]:
    for size in SWIN_SIZES:
        for entry in _entries(size).values():
            assert entry.dataset is not None
            # lucid converted the official models. Where there are two, pretrained on ImageNet-1k and -22k, it is not
            # known which one.
            published = metrics.get((size, entry.dataset), [])
            metric = published[0] if len(published) == 1 else ""
            name = f"{entry.meta['model']}:{entry.tag}"
            queries = entry.meta["config"]["num_queries"]
            parameters = entry.meta["parameters"]
            yield CatalogEntry(name, size, entry.dataset, queries, parameters, metric, backbone=f"swin_{size}")


def _official() -> Iterator[CatalogEntry]:
    table = (files("lucid_mlx.weights") / "hub_models.tsv").read_text(encoding="utf-8")
    for line in table.splitlines()[1:]:
        name, queries, metric, _ = line.split("\t")
        size = next(size for size in SWIN_SIZES if f"swin-{size}-" in name)
        dataset = name.split(f"swin-{size}-")[1].removeprefix("IN21k-").replace("ade-", "ade20k-").replace("-", "_")
        parameters = _num_parameters(size, dataset, int(queries))
        yield CatalogEntry(name, size, dataset, int(queries), parameters, metric, backbone=f"swin_{size}")


def _num_parameters(size: str, dataset: str, num_queries: int) -> int:
    """Compute the number of parameters from that of a registered model with the same backbone."""
    known = _entries(size)["COCO_PANOPTIC"]
    config = known.meta["config"]
    labels = len(dataset_classes(dataset)) - config["num_labels"]
    # A class adds 256 weights and a bias; a query, two vectors of 256.
    return int(known.meta["parameters"] + labels * 257 + (num_queries - config["num_queries"]) * 512)


def _entries(size: str) -> dict[str, WeightEntry]:
    enum: type[WeightsEnum] = getattr(enums, f"Mask2Former_Swin_{size.capitalize()}_Weights")
    return {member.name: member.value for member in enum if member.name != "DEFAULT"}
