"""Pretrain a backbone: classify segments by their true masks, before the model learns to find them.

The backbones of published models were pretrained to classify a million images of ImageNet. This does the same with your
own labeled images: each feature map of the backbone is averaged inside each mask, and a linear layer classifies the
mean. Muon (Jordan et al., 2024) updates the convolutions, AdamW the rest. The model that comes with the package had a
mIoU of 57.7 % after ordinary training on 176,000 scenes. After 750,000 more scenes of this pretraining and 300,000 of
ordinary training, with two more blocks, it has 70.3 %.

    python examples/name_segments.py train.toml named --steps 8000
    lucid-mlx train train.toml --output my-model --weights named

Images, augmentation, model and initial weights are those of the configuration. `mlx.launch` works too.
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

SAVE_EVERY = 500  # steps
ADAMW_LEARNING_RATE = 3e-3


class SegmentClassifier(nn.Module):
    """A backbone, and for each of its feature maps a linear layer that classifies the map's mean inside a mask."""

    def __init__(self, backbone: nn.Module, channels: tuple[int, ...], num_classes: int):
        super().__init__()
        self.backbone = backbone
        self.heads = [nn.Linear(width, num_classes) for width in channels]

    def __call__(self, pixels: mx.array, masks: list[mx.array]) -> list[mx.array]:
        """Return the class logits of all masks of the batch, (masks, classes), for each feature map."""
        maps = self.backbone(pixels)
        means = [[masked_mean(features[i], mask) for i, mask in enumerate(masks)] for features in maps]
        return [head(mx.concatenate(x)) for head, x in zip(self.heads, means, strict=True)]


def masked_mean(features: mx.array, masks: mx.array) -> mx.array:
    """Return the mean of features, (h, w, C), inside each mask, (N, H, W); masks are averaged to the features' size."""
    sizes = zip(features.shape[:2], masks.shape[1:], strict=True)
    rows, columns = (mx.repeat(mx.eye(small), large // small, axis=1) for small, large in sizes)
    weights = (rows @ masks.astype(mx.float32) @ columns.T).flatten(1)
    return (weights / mx.maximum(weights.sum(axis=1, keepdims=True), 1.0)) @ features.flatten(0, 1)


def loss(
    model: SegmentClassifier, pixels: mx.array, masks: list[mx.array], class_ids: mx.array
) -> tuple[mx.array, mx.array]:
    """Return the cross entropy, summed over the maps, and the accuracy of each map; large masks weigh more."""
    logits = model(pixels, masks)
    roots = mx.sqrt(mx.concatenate([mask.sum(axis=(1, 2)) for mask in masks]))
    weights = roots / roots.sum()
    accuracy = mx.stack([((x.argmax(axis=-1) == class_ids) * weights).sum() for x in logits])
    return sum((nn.losses.cross_entropy(x, class_ids) * weights).sum() for x in logits), accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="of a training run, as `lucid-mlx train` takes it")
    parser.add_argument("output", type=Path, help="new folder for the model with the pretrained backbone")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=0.04, help="of the convolutions, which Muon updates")
    args = parser.parse_args()
    try:
        config = replace(read_config(args.config), batch_size=args.batch_size)
        if any(int(side) % 32 for side in config.sample_size.split("x")):
            parser.error(f"samples have {config.sample_size} pixels; both sides must be multiples of 32")
        train(Trainer(config, args.output, log=print), args.steps, args.learning_rate)
    except lucid_mlx.InputError as error:
        parser.error(str(error))


def train(trainer: Trainer, steps: int, learning_rate: float) -> None:
    """Train the backbone of a trainer's model."""
    model = SegmentClassifier(trainer.model.backbone, trainer.model.channels, trainer.model.config.num_labels)
    schedule = OptimizerConfig(schedule="cosine", warmup_steps=steps // 20)
    optimizers = [Muon(learning_rate, weight_decay=0.0), AdamW(ADAMW_LEARNING_RATE, bias_correction=True)]
    optimizer = MultiOptimizer(optimizers, [lambda _, array: array.ndim == 4])
    value_and_grad = nn.value_and_grad(model, loss)
    average = mx.zeros(len(model.heads))
    bar = tqdm(total=steps, unit="step", disable=None if trainer.is_main_process else True)
    with closing(trainer.loader.batches()) as batches, bar:
        for step, batch in enumerate(islice(batches, steps)):
            (_, accuracy), gradients = value_and_grad(model, batch.pixels, batch.masks, mx.concatenate(batch.class_ids))
            for each, rate in zip(optimizers, (learning_rate, ADAMW_LEARNING_RATE), strict=True):
                each.learning_rate = rate * schedule.factor(step, steps)
            optimizer.update(model, nn.average_gradients(gradients))
            average = average + (accuracy - average) / min(step + 1, SAVE_EVERY)
            mx.eval(model.state, optimizer.state, average)
            bar.update()
            if trainer.is_main_process and ((step + 1) % SAVE_EVERY == 0 or step + 1 == steps):
                trainer.folder.write_weights(named_parameters(trainer.model))
                trainer.log(f"step {step + 1}: accuracy by map: {', '.join(f'{x:.0%}' for x in average.tolist())}")


if __name__ == "__main__":
    main()
