"""Make the model that comes with the package, in lucid_mlx/demo, from a training run; or measure what is there.

    python docs/demo_model.py people-and-garments --run people-run   # make it, and measure it
    python docs/demo_model.py people-and-garments                    # measure it

The first folder is what examples/people_and_garments.py wrote; examples/train_people_and_garments.toml has the commands
of the training. Measured are its test photos:

- people: the mean IoU of the classes, and the IoU of all that is not background
- garments: the IoU of all that is not background with the mask, the mean over photos; and how often the class with most
  pixels, background aside, is the photo's
"""

import argparse
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import lucid_mlx  # isort: skip  # before mlx, for its BLAS
import mlx.core as mx
import numpy as np
from tqdm.auto import tqdm

from lucid_mlx.data import Dataset, open_dataset
from lucid_mlx.evaluation import evaluate
from lucid_mlx.profiling import device_check
from lucid_mlx.weights import read_checkpoint, write_checkpoint
from lucid_mlx.weights.address import DEMO_FOLDER

METADATA = {"license": "bsd-2-clause", "dataset": "people_and_garments_panoptic"}  # the license of its backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that examples/people_and_garments.py wrote")
    parser.add_argument("--run", type=Path, help="folder that lucid-mlx train wrote; default: the package's model")
    parser.add_argument("--split", default="test", choices=["test", "validation"])
    parser.add_argument("--size", help="as lucid-mlx segment --size; default: the model's own")
    args = parser.parse_args()
    if args.run:
        checkpoint = read_checkpoint(args.run)
        arrays = {name: array.astype(mx.float16) for name, array in checkpoint.arrays.items()}
        with TemporaryDirectory() as work:
            folder = Path(work) / "model"
            write_checkpoint(folder, checkpoint.config, arrays, checkpoint.metadata | METADATA, checkpoint.preprocessor)
            shutil.copytree(folder, DEMO_FOLDER, dirs_exist_ok=True)
        device_check.record()
    warnings.simplefilter("ignore")  # a network for panoptic segmentation does semantic segmentation
    segmenter = lucid_mlx.Segmenter("demo", "semantic", dtype=mx.float32, size=args.size)
    people, garments = (
        open_dataset(args.data / f"{args.split}-{kind}/images", args.data / f"{args.split}-{kind}/panoptic.json")
        for kind in ("people", "garments")
    )
    found = evaluate(segmenter, people, progress=True)
    miou, person = found.metrics["mIoU"], person_iou(segmenter, people)
    print(f"{found.num_images} photos of people: mIoU {miou:.1f}, person {person:.1f}")
    print(", ".join(f"{name} {values['IoU']:.0f}" for name, values in found.per_class.items()))
    ious, right = garment_scores(segmenter, garments)
    print(f"{len(ious)} photos of garments: mask IoU {ious.mean():.3f}, named right {100 * right.mean():.0f} %")


def maps(segmenter: lucid_mlx.Segmenter, dataset: Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the map of classes of each photo, and that of its labels, -1 where there is none."""
    for record in tqdm(dataset.records, unit="photo", disable=None):
        yield segmenter(record.image()).map, record.target().class_map()


def person_iou(segmenter: lucid_mlx.Segmenter, dataset: Dataset) -> float:
    """Return the IoU of all that is not background, over the pixels of all photos, in percent."""
    both = either = 0
    for seen, truth in maps(segmenter, dataset):
        both += ((seen > 0) & (truth > 0)).sum()
        either += (((seen > 0) | (truth > 0)) & (truth >= 0)).sum()
    return 100 * both / either


def garment_scores(segmenter: lucid_mlx.Segmenter, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return for each photo the IoU of all that is not background, and whether its garment is named right."""
    ious, right = [], []
    for seen, truth in maps(segmenter, dataset):
        counts = np.bincount(seen.ravel(), minlength=len(segmenter.labels))[: len(segmenter.labels)]
        ious.append(((seen > 0) & (truth > 0)).sum() / ((seen > 0) | (truth > 0)).sum())
        right.append(1 + counts[1:].argmax() == truth.max())
    return np.array(ious), np.array(right)


if __name__ == "__main__":
    main()
