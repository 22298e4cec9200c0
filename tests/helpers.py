"""What several tests need: a small network, and a Hugging Face folder made without torch."""

import gzip
import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from click.testing import CliRunner, Result
from mlx.utils import tree_flatten, tree_unflatten

from lucid_mlx.cli.main import main
from lucid_mlx.models import Mask2Former, Mask2FormerConfig

DATA = Path(__file__).parent / "data"
PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"
SCENES = DATA / "scenes_network"  # a small network that was trained on drawn scenes of 128x128 pixels
SCENE = SCENES / "scene.png"  # one of these

SWIN = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": [1, 1, 2, 1],
    "num_heads": [1, 2, 2, 4],
    "window_size": 4,
    "mlp_ratio": 2.0,
    "drop_path_rate": 0.0,
}
RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
}

SIZES: dict[str, Any] = {
    "num_labels": 5,
    "feature_size": 32,
    "mask_feature_size": 16,
    "hidden_dim": 32,
    "num_queries": 6,
    "encoder_layers": 1,
    "encoder_feedforward_dim": 16,
    "decoder_layers": 4,
    "dim_feedforward": 16,
    "num_attention_heads": 4,
}


def small_config(**kwargs: Any) -> Mask2FormerConfig:
    return Mask2FormerConfig(**{**SIZES, "backbone_config": SWIN, **kwargs})


def small_model(seed: int = 0, **kwargs: Any) -> Mask2Former:
    """A small network in inference mode, every parameter moved off its initial value."""
    mx.random.seed(seed)
    model = Mask2Former(small_config(**kwargs))
    moved = [
        (name, mx.abs(value + 0.1 * mx.random.normal(value.shape)) if name.endswith("running_var")
         else value + 0.1 * mx.random.normal(value.shape))
        for name, value in tree_flatten(model.parameters())
    ]  # fmt: skip
    model.update(tree_unflatten(moved))
    return model.eval()


def key_list(name: str) -> dict[str, tuple[int, ...]]:
    """The keys of a real checkpoint and their shapes, in its order."""
    lines = gzip.decompress((DATA / f"{name}.keys.gz").read_bytes()).decode().splitlines()
    entries = (line.split(" ") for line in lines)
    return {key: () if shape == "scalar" else tuple(map(int, shape.split("x"))) for key, shape in entries}


TINY_HUGGINGFACE: dict[str, Any] = {
    "model_type": "mask2former",
    "architectures": ["Mask2FormerForUniversalSegmentation"],
    "backbone_config": {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 2, 2, 4],
        "window_size": 3,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    },
    "feature_size": 32,
    "mask_feature_size": 16,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 16,
    "dim_feedforward": 16,
    "num_attention_heads": 4,
    "num_queries": 6,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "id2label": {"0": "cup", "1": "table", "2": "spoon"},
}


def huggingface_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays under the names and in the shapes of the tiny Hugging Face network above."""
    arrays = {}
    rng = np.random.default_rng(seed)
    for key, shape in key_list("hf_tiny").items():
        arrays[key] = (0.2 * rng.standard_normal(shape)).astype(np.float32)
    return arrays


def write_huggingface(folder: Path, arrays: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    save_file(arrays or huggingface_arrays(), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**TINY_HUGGINGFACE, **config}))
    image_config = {
        "size": {"height": 64, "width": 64},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(image_config))
    return folder


def run_cli(*arguments: object, code: int = 0, **options: Any) -> Result:
    """Run the command line; it ends with the code, and in any case without a traceback."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], **options)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result
