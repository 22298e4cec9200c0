"""What the device has and what of it is in use, for `lucid-mlx doctor`."""

import sys
from collections.abc import Callable

import mlx.core as mx

from lucid_mlx.backends.cpu.blas import OPENBLAS
from lucid_mlx.backends.device import device
from lucid_mlx.backends.gpu.comparison import TOLERANCES
from lucid_mlx.backends.gpu.self_check import Case, problem

SLOW = 12e9  # operations a second; the reference BLAS reaches 4e9 on one x86 core, OpenBLAS over 50e9


def report(attention: Callable[..., mx.array]) -> dict[str, str]:
    """Return lines about the device, by what they are about.

    Args:
        attention: the definition of multi-scale deformable attention, to check the fused kernels against.

    Returns:
        Texts by title, in the order in which people want them.
    """
    lines = {"Metal": "available" if mx.metal.is_available() else "not available"}
    if sys.platform == "linux":
        lines["BLAS"] = OPENBLAS or "MLX's own (reference BLAS)"
    if device() == "cpu":
        return lines | {"fused attention": "not used: its kernels are for GPUs"}
    for dtype in TOLERANCES:
        reason = problem(Case(dtype, heads=8, dim=32, levels=3, points=4), attention)
        state = "in use" if reason is None else f"FAILED, not used: {reason} (please report this)"
        lines[f"fused attention, {str(dtype).removeprefix('mlx.core.')}"] = state
    return lines


def advice(rate: float) -> str | None:
    """Return what to do about slow matrix products; None if they are not.

    Args:
        rate: operations a second that float32 products reach.

    Returns:
        A sentence, or None.
    """
    if device() == "gpu" or rate >= SLOW:
        return None
    if sys.platform != "linux":
        return "another program may be using the processor"
    if OPENBLAS is None:
        return (
            "install OpenBLAS (Debian, Ubuntu: sudo apt-get install libopenblas0-pthread; Fedora: sudo dnf "
            "install openblas) and import lucid_mlx before mlx"
        )
    return f"{OPENBLAS} is loaded; another program may be using the processor"
