"""The backbone that is made of an ONNX file: its convolutions in their order, with the shifts that were batch norms."""

import importlib.metadata
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from lucid_mlx.convert.backbone import read_backbone

SCRIPT = Path(__file__).parents[1] / "examples" / "open_nsfw_backbone.py"
DEPTHS, WIDTHS = (3, 4, 6, 3), (8, 16, 24, 32)


def convolutions():
    """Weights and shifts of a narrow network, in the order of the graph: a block begins with its shortcut."""
    rng = np.random.default_rng(0)
    shapes, inputs = [(4, 3, 7, 7)], 4
    for depth, outputs in zip(DEPTHS, WIDTHS, strict=True):
        for block in range(depth):
            width = outputs // 4
            shapes += [(outputs, inputs, 1, 1)] * (block == 0)
            shapes += [(width, inputs, 1, 1), (width, width, 3, 3), (outputs, width, 1, 1)]
            inputs = outputs
    return [
        (rng.normal(size=shape).astype(np.float32), rng.normal(size=shape[0]).astype(np.float32)) for shape in shapes
    ]


@pytest.fixture
def file(monkeypatch):
    """The convolutions, in a graph that stands for the package's file."""
    values = {}
    nodes = [SimpleNamespace(op_type="Transpose", input=["input"])]
    for number, pair in enumerate(made := convolutions()):
        values |= {f"w{number}": pair[0], f"b{number}": pair[1]}
        nodes += [SimpleNamespace(op_type="Conv", input=["x", f"w{number}", f"b{number}"])]
    graph = SimpleNamespace(node=nodes, initializer=[SimpleNamespace(name=name) for name in values])
    onnx, helper = ModuleType("onnx"), ModuleType("onnx.numpy_helper")
    onnx.load = lambda path: SimpleNamespace(graph=graph)
    helper.to_array = lambda value: values[value.name]
    monkeypatch.setitem(sys.modules, "onnx", onnx)
    monkeypatch.setitem(sys.modules, "onnx.numpy_helper", helper)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: SimpleNamespace(locate_file=Path))
    return made


def test_every_convolution_has_its_place_and_images_are_prepared_as_for_the_file(file, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, str(tmp_path / "thin")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    backbone = read_backbone(tmp_path / "thin")
    assert (backbone.config["depths"], backbone.config["hidden_sizes"]) == ([*DEPTHS], [*WIDTHS])
    assert backbone.config["downsample_in_bottleneck"] is True
    scaled = np.array([[123.0, 117.0, 104.0]]) / 255
    assert np.allclose((scaled - backbone.image_config.mean) / backbone.image_config.std, 0)
    assert np.allclose(backbone.image_config.std, 1 / 255)
    names = ["stem.0", "stages.0.0.shortcut", "stages.0.0.convs.0", "stages.0.0.convs.1"]
    for name, (weight, shift) in zip(names, file, strict=False):
        got = np.array(backbone.arrays[f"backbone.{name}.conv.weight"]).transpose(0, 3, 1, 2)
        assert np.array_equal(got, weight[:, ::-1] if name == "stem.0" else weight)  # the file sees blue first
        norm = {key: np.array(backbone.arrays[f"backbone.{name}.norm.{key}"]) for key in ("bias", "running_var")}
        assert np.array_equal(norm["bias"], shift)
        assert np.allclose(norm["running_var"] + 1e-5, 1)
    last = np.array(backbone.arrays["backbone.stages.3.2.convs.2.conv.weight"]).transpose(0, 3, 1, 2)
    assert np.array_equal(last, file[-1][0])
