from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import pytest
from helpers import RESNET, SWIN, small_model
from mlx.utils import tree_flatten

from lucid_mlx.compiled import LOGITS, Compiled
from lucid_mlx.models.vision.backbones.folding import FoldedModel

DEEP = RESNET | {"stem": "deep", "layer_type": "bottleneck", "hidden_sizes": [16, 32, 48, 64]}


@pytest.mark.parametrize("backbone", [RESNET, DEEP], ids=["plain", "deep"])
def test_a_folded_network_gives_the_same_and_leaves_the_model_as_it_was(backbone):
    model = small_model(backbone_config=backbone)
    before = dict(tree_flatten(model.parameters()))
    pixels = mx.random.normal((1, 3, 64, 96), key=mx.random.key(0))
    wanted = model(pixels)
    got = FoldedModel(model).model(pixels)
    assert all(mx.array_equal(got[name], wanted[name]).item() for name in LOGITS)
    after = dict(tree_flatten(model.parameters()))
    assert before.keys() == after.keys()
    assert all(after[name] is x for name, x in before.items())


def test_a_network_without_batch_norms_is_its_own_copy():
    model = small_model(backbone_config=SWIN)
    assert FoldedModel(model).model is model


@pytest.mark.parametrize("part", ["backbone.stages.0", "pixel_decoder", "backbone.stem.0.norm"])
def test_what_is_compiled_sees_new_weights(part):
    model = small_model(backbone_config=RESNET)
    pixels = mx.random.normal((1, 3, 64, 64), key=mx.random.key(0))
    run = Compiled(model)
    first = run(pixels)["masks_queries_logits"]
    names = [(name, 1.5 * x) for name, x in tree_flatten(model.parameters()) if name.startswith(part)]
    assert names
    model.load_weights(names, strict=False)
    got, wanted = run(pixels)["masks_queries_logits"], model(pixels)["masks_queries_logits"]
    assert not mx.allclose(first, wanted, rtol=1e-2).item()
    assert mx.allclose(got, wanted, rtol=1e-3, atol=1e-4).item()


def test_another_type_folds_again():
    model = small_model(backbone_config=RESNET)
    folding = FoldedModel(model)
    model.set_dtype(mx.float16)
    folding.refresh()
    assert folding.model(mx.zeros((1, 3, 64, 64)))["masks_queries_logits"].dtype == mx.float16
    assert folding.model.backbone.stem[0].weight.dtype == mx.float16


def test_what_one_thread_has_folded_another_computes_with():
    model = small_model(backbone_config=RESNET)
    mx.eval(model.parameters())
    run, pixels = Compiled(model), mx.zeros((1, 3, 64, 64))
    mx.eval(pixels)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lambda: mx.isfinite(run(pixels)[LOGITS[0]]).all().item()).result()
