"""Teach a backbone to name what masks show, before the network learns to find it.

The published networks begin with backbones that have learned to classify a million photos of ImageNet. This is the
same for one's own labeled images: each of the backbone's maps is averaged inside each mask, and a linear layer names
the mean. Muon (Jordan et al., 2024) updates the filters, AdamW the rest. The network that comes with the package had a
mIoU of 57.7 % after 176,000 scenes of training as a whole; it has 70.3 % after 750,000 more in this way and 300,000 as
a whole, with two blocks more.

    python examples/name_segments.py train.toml named --steps 8000
    lucid-mlx train train.toml          # with `weights = "named"` under [network]

It takes images, augmentation, network and first weights from the configuration, and works in mlx.launch too.
"""

import argparse
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import lucid_mlx  # isort: skip  # before mlx, for its BLAS
import mlx.core as mx
import mlx.nn as nn
from mlx.optimizers import AdamW, MultiOptimizer, Muon
from tqdm.auto import tqdm

from lucid_mlx.training import Trainer, read_config
from lucid_mlx.training.optimizer import OptimizerConfig
from lucid_mlx.utils.parameters import named_parameters

SAVE = 500  # steps
ADAMW = 3e-3  # learning rate of all but the filters


class Naming(nn.Module):
    """A backbone, and for each of its maps a linear layer that names the mean of the map inside a mask."""

    def __init__(self, backbone: nn.Module, channels: tuple[int, ...], classes: int):
        super().__init__()
        self.backbone = backbone
        self.heads = [nn.Linear(width, classes) for width in channels]

    def __call__(self, pixels: mx.array, masks: list[mx.array]) -> list[mx.array]:
        """Return the class logits of all masks of the batch, (masks, classes), for each map."""
        maps = self.backbone(pixels)
        means = [[mean_inside(cells[image], mask) for image, mask in enumerate(masks)] for cells in maps]
        return [head(mx.concatenate(each)) for head, each in zip(self.heads, means, strict=True)]


def mean_inside(cells: mx.array, masks: mx.array) -> mx.array:
    """Return the mean of a map, (h, w, C), inside each mask, (N, H, W); a cell counts as far as the mask covers it."""
    sizes = zip(cells.shape[:2], masks.shape[1:], strict=True)
    rows, columns = (mx.repeat(mx.eye(few), many // few, axis=1) for few, many in sizes)
    shares = (rows @ masks.astype(mx.float32) @ columns.T).flatten(1)
    return (shares / mx.maximum(shares.sum(axis=1, keepdims=True), 1.0)) @ cells.flatten(0, 1)


def loss(naming: Naming, pixels: mx.array, masks: list[mx.array], classes: mx.array) -> tuple[mx.array, mx.array]:
    """Return the sum of the maps' cross entropies, and the share that each map names right; large masks count more."""
    logits = naming(pixels, masks)
    roots = mx.sqrt(mx.concatenate([mask.sum(axis=(1, 2)) for mask in masks]))
    shares = roots / roots.sum()
    right = mx.stack([((each.argmax(axis=-1) == classes) * shares).sum() for each in logits])
    return sum((nn.losses.cross_entropy(each, classes) * shares).sum() for each in logits), right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="of a training, as `lucid-mlx train` takes it")
    parser.add_argument("output", type=Path, help="new folder for the network with its new backbone")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.04, help="of the filters, which Muon updates")
    args = parser.parse_args()
    try:
        config = replace(read_config(args.config), batch_size=args.batch_size)
        if any(int(side) % 32 for side in config.sample_size.split("x")):
            parser.error(f"samples have {config.sample_size} pixels; both sides must be multiples of 32")
        run = Trainer(config, args.output, tell=print)
        train(run, args.steps, args.learning_rate)
    except lucid_mlx.InputError as error:
        parser.error(str(error))


def train(run: Trainer, steps: int, learning_rate: float) -> None:
    """Train the backbone of a run's network."""
    model = run.model
    naming = Naming(model.backbone, model.channels, model.config.num_labels)
    schedule = OptimizerConfig(schedule="cosine", warm_up=steps // 20)
    groups = [Muon(learning_rate, weight_decay=0.0), AdamW(ADAMW, bias_correction=True)]
    optimizer = MultiOptimizer(groups, [lambda _, array: array.ndim == 4])
    differentiate = nn.value_and_grad(naming, loss)
    lately = mx.zeros(len(naming.heads))
    bar = tqdm(total=steps, unit="step", disable=None if run.first else True)
    with closing(run.loader.batches()) as batches, bar:
        for step, batch in enumerate(islice(batches, steps)):
            (_, right), gradients = differentiate(naming, batch.pixels, batch.masks, mx.concatenate(batch.class_ids))
            for group, rate in zip(groups, (learning_rate, ADAMW), strict=True):
                group.learning_rate = rate * schedule.factor(step, steps)
            optimizer.update(naming, nn.average_gradients(gradients))
            lately = lately + (right - lately) / min(step + 1, SAVE)
            mx.eval(naming.state, optimizer.state, lately)
            bar.update()
            if run.first and ((step + 1) % SAVE == 0 or step + 1 == steps):
                run.folder.write(named_parameters(model))
                run.tell(f"step {step + 1}: named right, by map: {', '.join(f'{x:.0%}' for x in lately.tolist())}")


if __name__ == "__main__":
    main()
