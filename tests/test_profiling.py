import json

import mlx.core as mx
import pytest
from helpers import RESNET, SWIN, run_cli, small_model

from lucid_mlx.profiling.flops import forward_flops
from lucid_mlx.profiling.timing import measure, measure_in_turn, parts
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint


@pytest.fixture
def folder(tmp_path):
    model = small_model()
    return write_checkpoint(tmp_path / "model", model.config.to_dict(), named_parameters(model), {}, {})


def test_things_run_in_turn_and_the_first_two_runs_do_not_count():
    order = []
    timings = measure_in_turn({name: lambda name=name: order.append(name) for name in "ab"}, 3)
    assert "".join(order) == "ab" * 5
    assert all(len(timing.seconds) == 3 and timing.median >= 0 for timing in timings.values())


def test_the_peak_is_of_the_thing_s_own_arrays():
    timing = measure(lambda: mx.zeros((64, 1 << 20), mx.uint8) + 1, 1)
    assert timing.peak >= 64 << 20


@pytest.mark.parametrize("backbone", [SWIN, RESNET], ids=["swin", "resnet"])
def test_the_parts_one_after_the_other_are_the_network(backbone):
    model = small_model(backbone_config=backbone).eval()
    pixels = mx.random.normal((1, 64, 96, 3), key=mx.random.key(0))
    works = parts(model, pixels)
    assert list(works) == ["backbone", "pixel decoder", "transformer decoder", "post-processing"]
    wanted, got = model(pixels.transpose(0, 3, 1, 2)), works["transformer decoder"]()
    for name, value in got.items():
        assert mx.allclose(value, wanted[name], atol=1e-4).item()
    assert works["post-processing"]()[0].shape == (64, 96)


@pytest.mark.parametrize("backbone", [SWIN, RESNET], ids=["swin", "resnet"])
def test_four_times_the_pixels_are_about_four_times_the_arithmetic(backbone):
    model = small_model(backbone_config=backbone)
    small, large = (forward_flops(model, side, side) for side in (256, 512))
    assert large["backbone"] == 4 * small["backbone"]
    assert large["pixel decoder"] == 4 * small["pixel decoder"]
    assert 1 < large["transformer decoder"] / small["transformer decoder"] < 4


def test_bench_prints_a_table_and_writes_all_figures(folder, tmp_path):
    row = tmp_path / "row.json"
    command = ("bench", "--weights", str(folder), "--size", "64,96", "--runs", "2", "-o", str(row))
    result = run_cli(*command)
    assert "64x64, batch 1" in result.output
    assert "96x96, batch 1" in result.output
    assert "post-processing" in result.output
    report = json.loads(row.read_text())
    assert [line["size"] for line in report["rows"]] == [64, 96]
    assert report["rows"][0]["whole"]["median"] > 0
    assert len(report["rows"][0]["parts"]["backbone"]["seconds"]) == 2
    before = row.read_bytes()
    run_cli(*command, code=2)
    assert row.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "512,"), "whole numbers from 1 to 8192"),
        (("--batch-size", "0"), "whole numbers from 1 to 1024"),
        (("--model", "yolo"), "there is no network 'yolo'"),
    ],
)
def test_bad_input_is_told(arguments, message):
    assert message in run_cli("bench", *arguments, code=2).output
