"""Learn four synthetic scenes by heart: does training work?

A tiny network sees four 128x128 scenes of discs, squares and bars at every step. After 200 steps each of the three
losses of the last prediction should be below a tenth of its start, and every mask at an IoU above 0.9.

    python benchmarks/overfit.py
    python benchmarks/overfit.py --steps 300 --seed 1
"""

import argparse
import time

import lucid_mlx  # isort: skip  # before mlx, for its BLAS
import mlx.core as mx
import numpy as np
from mlx.optimizers import AdamW, clip_grad_norm

from lucid_mlx.models import Mask2Former, Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.matcher import Prediction, match
from lucid_mlx.models.vision.mask2former.targets import read_targets
from lucid_mlx.ops import resize_planes
from lucid_mlx.training import loss_and_gradients

SIZE = 128
SWIN = {
    "model_type": "swin",
    "embed_dim": 24,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 2, 4, 8],
    "window_size": 4,
    "mlp_ratio": 2.0,
    "drop_path_rate": 0.0,
}
CONFIG = Mask2FormerConfig(
    3,
    backbone_config=SWIN,
    feature_size=64,
    mask_feature_size=64,
    hidden_dim=64,
    num_queries=12,
    encoder_layers=2,
    encoder_feedforward_dim=128,
    decoder_layers=4,
    dim_feedforward=128,
    num_attention_heads=4,
    train_num_points=2048,
)
NAMES = ("loss_cross_entropy", "loss_mask", "loss_dice")


def main() -> None:
    lucid_mlx.tune_for_cpu()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    mx.random.seed(args.seed)
    model = Mask2Former(CONFIG).train()
    images, masks, classes = scenes(args.seed)
    optimizer = AdamW(1e-3, weight_decay=0.01)
    start = time.perf_counter()
    history = []
    for step, key in enumerate(mx.random.split(mx.random.key(args.seed), args.steps)):
        losses, gradients = loss_and_gradients(model, images, masks, classes, key)
        optimizer.update(model, clip_grad_norm(gradients, 1.0)[0])
        mx.eval(losses, model.parameters(), optimizer.state)
        history.append([losses[name].item() for name in NAMES])
        if step % 20 == 0:
            print(
                f"{step:5}  " + "  ".join(f"{name} {loss:7.4f}" for name, loss in zip(NAMES, history[-1], strict=True))
            )
    print(f"{args.steps} steps in {time.perf_counter() - start:.0f} s")

    first, last = history[0], np.mean(history[-10:], axis=0)
    shares = {name: b / a for name, a, b in zip(NAMES, first, last, strict=True)}
    print("of the start: " + ", ".join(f"{name} {share:.3f}" for name, share in shares.items()))
    ious, right = score(model.eval(), images, masks, classes)
    print(f"IoU of {len(ious)} masks: least {min(ious):.3f}, mean {np.mean(ious):.3f}; classes right: {right}")
    if max(shares.values()) >= 0.1 or min(ious) <= 0.9 or right < len(ious):
        raise SystemExit("the network did not learn them")


def scenes(seed: int) -> tuple[mx.array, list[mx.array], list[mx.array]]:
    """Four images, (4, 3, SIZE, SIZE), the masks of their shapes, (N, SIZE, SIZE) bool each, and the classes."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, masks, classes = [], [], []
    for count in (2, 3, 4, 5):
        image = np.full((SIZE, SIZE, 3), rng.uniform(-1, 1, 3))
        places = rng.permutation(9)[:count]  # cells of a 3x3 grid, so that shapes do not overlap
        kinds = rng.integers(0, 3, count)
        shapes = []
        for place, kind in zip(places, kinds, strict=True):
            y, x = (np.array(divmod(place, 3)) + 0.5) * SIZE / 3 + rng.uniform(-4, 4, 2)
            radius = rng.uniform(11, 16)
            down, right = np.abs(rows - y), np.abs(columns - x)
            shape = [np.hypot(down, right) < radius, np.maximum(down, right) < radius, (down < 5) & (right < radius)]
            shapes.append(shape[kind])
            image[shapes[-1]] = rng.uniform(-2, 2, 3)
        images.append(image + 0.05 * rng.standard_normal(image.shape))
        masks.append(mx.array(np.stack(shapes)))
        classes.append(mx.array(kinds))
    return mx.array(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)), masks, classes


def score(
    model: Mask2Former, images: mx.array, masks: list[mx.array], classes: list[mx.array]
) -> tuple[list[float], int]:
    """The IoU of each object's mask with its matched query's, and the number of classes that are right."""
    out = model(images)
    targets = read_targets(masks, classes, len(images), CONFIG.num_labels)
    last = Prediction(out["masks_queries_logits"], out["class_queries_logits"])
    (found,) = match([last], targets, CONFIG, mx.random.key(0))
    rows, objects = found.rows, found.objects
    predicted = resize_planes(last.masks.flatten(0, 1)[rows], (SIZE, SIZE)) > 0
    wanted = mx.concatenate(masks)[objects]
    ious = (predicted & wanted).sum(axis=(1, 2)) / (predicted | wanted).sum(axis=(1, 2))
    right = mx.argmax(last.classes.flatten(0, 1)[rows], axis=-1) == mx.concatenate(classes)[objects]
    return ious.tolist(), right.sum().item()


if __name__ == "__main__":
    main()
