"""How fast a network runs on this machine, and where the time goes."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx

from lucid_mlx.models import Mask2Former
from lucid_mlx.ops import matmul
from lucid_mlx.postprocessing import semantic_segmentation
from lucid_mlx.profiling.flops import forward_flops


@dataclass(frozen=True)
class Timing:
    """Repeated runs of one thing.

    Attributes:
        first: seconds of the first run, with all that is compiled or allocated once.
        seconds: of each of the others but one, which warms up.
        peak: most bytes of arrays at a time, those that were there before included.
    """

    first: float
    seconds: tuple[float, ...]
    peak: int

    @property
    def median(self) -> float:
        """Seconds of the middle one."""
        return statistics.median(self.seconds)


def measure(run: Callable[[], Any], runs: int) -> Timing:
    """Run something, after twice to warm up.

    Args:
        run: what to run; what it returns is evaluated.
        runs: how often.

    Returns:
        The times.
    """
    return measure_in_turn({"": run}, runs)[""]


def measure_in_turn(works: dict[str, Callable[[], Any]], runs: int) -> dict[str, Timing]:
    """Run several things in turn, so that whatever disturbs the machine disturbs them all.

    Args:
        works: what to run, by name; what they return is evaluated.
        runs: how often, after twice to warm up.

    Returns:
        The times by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    peaks = dict.fromkeys(works, 0)
    for _ in range(runs + 2):
        for name, run in works.items():
            mx.reset_peak_memory()
            start = time.perf_counter()
            mx.eval(run())
            seconds[name].append(time.perf_counter() - start)
            peaks[name] = max(peaks[name], mx.get_peak_memory())
    return {name: Timing(times[0], tuple(times[2:]), peaks[name]) for name, times in seconds.items()}


def parts(model: Mask2Former, pixels: mx.array) -> dict[str, Callable[[], Any]]:
    """Return the parts of a semantic segmentation, each a function that runs on what the part before it gave.

    Args:
        model: in inference mode.
        pixels: (B, H, W, num_channels).

    Returns:
        Functions by name.
    """
    maps = model.backbone(pixels)
    features, memories = model.pixel_decoder(maps)

    def decode() -> dict[str, mx.array]:
        output = model.transformer_decoder(features, memories)
        return {"class_queries_logits": output.class_logits[-1], "masks_queries_logits": output.mask_logits[-1]}

    outputs = decode()
    mx.eval(maps, features, memories, outputs)
    return {
        "backbone": partial(model.backbone, pixels),
        "pixel decoder": partial(model.pixel_decoder, maps),
        "transformer decoder": decode,
        "post-processing": partial(semantic_segmentation, outputs, (pixels.shape[1], pixels.shape[2])),
    }


def product_rate(dtype: mx.Dtype, size: int = 2048) -> float:
    """Measure the machine's matrix product on all cores.

    Args:
        dtype: of the matrices.
        size: rows and columns of the matrices.

    Returns:
        Operations a second, the best of five.
    """
    x = mx.ones((size, size), dtype)
    return float(2 * size**3 / min(measure(lambda: matmul(x, x), 5).seconds))


def flops_of_parts(model: Mask2Former, pixels: mx.array) -> dict[str, int]:
    """Return the operations of each part that has products.

    Args:
        model: the network.
        pixels: (B, H, W, num_channels), whose whole batch counts.

    Returns:
        Floating-point operations by the part's name.
    """
    counts = forward_flops(model, pixels.shape[1], pixels.shape[2])
    return {name: pixels.shape[0] * count for name, count in counts.items()}
