"""The public Mask2Former models by name: lucid's registry, and the official ones on the Hugging Face hub."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from lucid_mlx.datasets import dataset_classes, dataset_task
from lucid_mlx.weights import enums
from lucid_mlx.weights.registry import ZOO_LICENSE, WeightEntry, WeightsEnum

SIZES = ("tiny", "small", "base", "large")


@dataclass(frozen=True)
class CatalogEntry:
    """A public model.

    Attributes:
        name: what `lucid_mlx.load` and the command line take.
        size: of its backbone, "tiny" to "large".
        dataset: what it was trained on, with the task: "coco_panoptic".
        queries: masks that it predicts.
        parameters: how many numbers it has.
        metric: published accuracy at the original test size; empty where the source is not certain.
        license: of the weights.
    """

    name: str
    size: str
    dataset: str
    queries: int
    parameters: int
    metric: str
    license: str = ZOO_LICENSE

    @property
    def task(self) -> str:
        """One of `TASKS`."""
        return dataset_task(self.dataset)


@lru_cache
def catalog() -> tuple[CatalogEntry, ...]:
    """Return all models of the registry, then the official ones."""
    official = tuple(_official())
    metrics: dict[tuple[str, str], list[str]] = {}
    for model in official:
        metrics.setdefault((model.size, model.dataset), []).append(model.metric)
    return (*_registered(metrics), *official)


def _registered(metrics: dict[tuple[str, str], list[str]]) -> Iterator[CatalogEntry]:
    for size in SIZES:
        for entry in _entries(size).values():
            assert entry.dataset is not None
            # lucid converted the hub's models; where that has two, of ImageNet-1k and -22k, nobody says which.
            published = metrics.get((size, entry.dataset), [])
            metric = published[0] if len(published) == 1 else ""
            name = f"{entry.meta['model']}:{entry.tag}"
            queries = entry.meta["config"]["num_queries"]
            yield CatalogEntry(name, size, entry.dataset, queries, entry.meta["parameters"], metric)


def _official() -> Iterator[CatalogEntry]:
    table = (files("lucid_mlx.weights") / "hub_models.tsv").read_text(encoding="utf-8")
    for line in table.splitlines()[1:]:
        name, queries, metric, _ = line.split("\t")
        size = next(size for size in SIZES if f"swin-{size}-" in name)
        dataset = name.split(f"swin-{size}-")[1].removeprefix("IN21k-").replace("ade-", "ade20k-").replace("-", "_")
        yield CatalogEntry(name, size, dataset, int(queries), _parameters(size, dataset, int(queries)), metric)


def _parameters(size: str, dataset: str, queries: int) -> int:
    """Count the parameters of a model by those of another with the same backbone."""
    known = _entries(size)["COCO_PANOPTIC"]
    config = known.meta["config"]
    labels = len(dataset_classes(dataset)) - config["num_labels"]
    # A class adds a row of 256 weights and a bias; a query, two vectors of 256.
    return int(known.meta["parameters"] + labels * 257 + (queries - config["num_queries"]) * 512)


def _entries(size: str) -> dict[str, WeightEntry]:
    enum: type[WeightsEnum] = getattr(enums, f"Mask2Former_Swin_{size.capitalize()}_Weights")
    return {member.name: member.value for member in enum if member.name != "DEFAULT"}
