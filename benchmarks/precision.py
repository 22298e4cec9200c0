"""What half precision and quantized weights change on a photo: logits, classes of pixels, size of the file.

    python benchmarks/precision.py
    python benchmarks/precision.py --parts
    python benchmarks/precision.py --weights facebook/mask2former-swin-tiny-ade-semantic

Without --weights it takes Swin-T networks with random weights, from three seeds, drawn so that a picture shows a dozen
classes. Their classes mean nothing and lie closer together than a trained network's: of what changes, they tell which
precision costs more than another, and not what a trained network would lose.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np

import lucid_mlx
from lucid_mlx.loading import build_model
from lucid_mlx.models import Mask2Former, mask2former_swin_tiny
from lucid_mlx.postprocessing import semantic_segmentation
from lucid_mlx.preprocessing import ImageConfig, preprocess, read_image
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import Checkpoint, read_checkpoint, write_checkpoint
from lucid_mlx.weights.quantize import quantize

PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"
CASES: dict[str, dict[str, int] | mx.Dtype] = {
    "float16": mx.float16,
    "bfloat16": mx.bfloat16,
    "8 bits, groups of 64": {"bits": 8, "group_size": 64},
    "8 bits, groups of 32": {"bits": 8, "group_size": 32},
    "4 bits, groups of 64": {"bits": 4, "group_size": 64},
    "4 bits, groups of 32": {"bits": 4, "group_size": 32},
}
PARTS = {
    "blocks of the backbone": ("backbone.stages.", ".blocks."),
    "patch merging": ("backbone.stages.", ".downsample."),
    "layers of the pixel decoder": ("pixel_decoder.layers.", ""),
    "projections of the pixel decoder": ("pixel_decoder.", "projection"),
    "layers of the transformer decoder": ("transformer_decoder.layers.", ""),
    "heads": ("transformer_decoder.", "_head."),
}

Result = tuple[np.ndarray, np.ndarray, np.ndarray]


def networks(weights: str | None) -> Iterator[Checkpoint]:
    if weights is not None:
        model = lucid_mlx.load(weights, dtype=mx.float32)
        yield Checkpoint(model.config.to_dict(), named_parameters(model), {}, {})
        return
    for seed in (3, 4, 5):
        mx.random.seed(seed)
        model = mask2former_swin_tiny(20, init_std=0.5, init_xavier_std=0.3)
        mx.eval(model.parameters())
        yield Checkpoint(model.config.to_dict(), named_parameters(model), {}, {})


def run(model: Mask2Former, pixels: mx.array) -> Result:
    outputs = model(pixels)
    classes, masks = (outputs[name][0].astype(mx.float32) for name in ("class_queries_logits", "masks_queries_logits"))
    shown = semantic_segmentation(outputs, (pixels.shape[2], pixels.shape[3]))[0]
    return np.array(classes), np.array(masks), np.array(shown)


def variant(checkpoint: Checkpoint, case: dict[str, int] | mx.Dtype) -> Checkpoint:
    if isinstance(case, mx.Dtype):
        arrays = {name: array.astype(case) for name, array in checkpoint.arrays.items()}
        return Checkpoint(checkpoint.config, arrays, {}, {})
    model = build_model(checkpoint)
    record = quantize(model, **case)
    return Checkpoint({**checkpoint.config, "quantization": record}, named_parameters(model), {}, {})


def differences(got: Result, expected: Result) -> list[float]:
    """Largest error of a logit relative to the largest, of classes and masks, and the share of pixels that change."""
    logits = [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(got[:2], expected[:2], strict=True)]
    return [*logits, float(np.mean(got[2] != expected[2]))]


def megabytes(checkpoint: Checkpoint) -> float:
    with tempfile.TemporaryDirectory() as folder:
        written = write_checkpoint(
            Path(folder) / "model", checkpoint.config, checkpoint.arrays, {}, checkpoint.preprocessor
        )
        assert read_checkpoint(written).arrays.keys() == checkpoint.arrays.keys()
        return (written / "model.safetensors").stat().st_size / 1e6


def whole(weights: str | None, pixels: mx.array) -> None:
    print("| weights | file, MB | class logits | mask logits | pixels of another class |\n|---|---|---|---|---|")
    found: dict[str, list[list[float]]] = {name: [] for name in CASES}
    sizes: dict[str, float] = {}
    for checkpoint in networks(weights):
        expected = run(build_model(checkpoint), pixels)
        sizes["float32"] = megabytes(checkpoint)
        for name, case in CASES.items():
            changed = variant(checkpoint, case)
            sizes[name] = megabytes(changed)
            found[name].append(differences(run(build_model(changed), pixels), expected))
    print(f"| float32 | {sizes['float32']:.0f} | | | |")
    for name, rows in found.items():
        classes, masks, pixels_changed = np.median(rows, axis=0)
        print(f"| {name} | {sizes[name]:.0f} | {classes:.1e} | {masks:.1e} | {pixels_changed:.2%} |")


def by_part(weights: str | None, pixels: mx.array) -> None:
    print("| part | weights | 8 bits | 4 bits |\n|---|---|---|---|")
    found: dict[str, list[list[float]]] = {name: [] for name in PARTS}
    shares = {}
    for checkpoint in networks(weights):
        expected = run(build_model(checkpoint), pixels)
        total = sum(array.size for array in checkpoint.arrays.values())
        for part, (start, word) in PARTS.items():
            names = [
                name
                for name, array in checkpoint.arrays.items()
                if name.startswith(start) and word in name and name.endswith("weight") and array.ndim == 2
                and array.shape[1] % 64 == 0
            ]  # fmt: skip
            shares[part] = sum(checkpoint.arrays[name].size for name in names) / total
            changed = []
            for bits in (8, 4):
                rounded = {
                    name: mx.dequantize(*mx.quantize(checkpoint.arrays[name], bits=bits), bits=bits) for name in names
                }
                model = build_model(Checkpoint(checkpoint.config, {**checkpoint.arrays, **rounded}, {}, {}))
                changed.append(differences(run(model, pixels), expected)[2])
            found[part].append(changed)
    for part, rows in found.items():
        eight, four = np.median(rows, axis=0)
        print(f"| {part} | {shares[part]:.1%} | {eight:.2%} | {four:.2%} |")


def main() -> None:
    lucid_mlx.tune_for_cpu()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="any weights that lucid_mlx.load takes; random ones if left out")
    parser.add_argument("--parts", action="store_true", help="quantize one part at a time")
    parser.add_argument("--photo", type=Path, default=PHOTO)
    arguments = parser.parse_args()
    pixels = preprocess(read_image(arguments.photo), ImageConfig()).pixels.transpose(0, 3, 1, 2)
    (by_part if arguments.parts else whole)(arguments.weights, pixels)


if __name__ == "__main__":
    main()
