"""A kernel beside its definition on this machine's GPU: what differs, and what to say of it."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

# What the output's precision allows, relative to the largest magnitude.
TOLERANCES = {mx.float32: 1e-4, mx.float16: 2e-3, mx.bfloat16: 2e-2}

Function = Callable[..., Any]


def differences(
    kernel: Function, definition: Function, primals: list[mx.array], cotangents: list[mx.array], names: Sequence[str]
) -> dict[str, float]:
    """Compare a kernel with its definition in float32, forward and backward.

    Args:
        kernel: a function of arrays, as is `definition`.
        definition: the same in plain MLX.
        primals: what both are called with.
        cotangents: gradients of the outputs.
        names: of the outputs, then of the gradients.

    Returns:
        For each the largest difference, relative to the largest magnitude.
    """

    def run(function: Function, arrays: list[mx.array], gradients: list[mx.array]) -> list[np.ndarray]:
        outputs, to_primals = mx.vjp(function, arrays, gradients)
        return [np.array(x.astype(mx.float32)) for x in (*outputs, *to_primals)]

    ours = run(kernel, primals, cotangents)
    with mx.stream(mx.cpu):  # whose products are float32; a GPU's may be TF32
        exact = [[x.astype(mx.float32) for x in arrays] for arrays in (primals, cotangents)]
        wanted = run(definition, *exact)
    return {
        name: float(np.abs(got - want).max() / np.abs(want).max())
        for name, got, want in zip(names, ours, wanted, strict=True)
    }


def problem(compare: Callable[[], dict[str, float]], dtype: mx.Dtype) -> str | None:
    """Return what is wrong with a kernel; None if nothing.

    Args:
        compare: runs it and returns its differences.
        dtype: that it computes in.

    Returns:
        A text such as "output off by 1e-02".
    """
    try:
        errors = compare()
    except Exception as error:  # a compiler's or a driver's, of any type
        return f"{type(error).__name__}: {error}"
    wrong = [f"{name} off by {error:.0e}" for name, error in errors.items() if not error <= TOLERANCES[dtype]]
    return ", ".join(wrong) or None


def passes(reason: str | None, kernel: str, stacklevel: int) -> bool:
    """Return whether a kernel may be used, and warn if not.

    Args:
        reason: what is wrong with it.
        kernel: what it computes.
        stacklevel: of the warning, as `warnings.warn` takes it here.

    Returns:
        True if nothing is.
    """
    if reason is not None:
        # The same words for each case, so that Python shows them once.
        warnings.warn(
            f"the fused {kernel} kernel fails on this machine; plain operations take its place, which are slower. "
            "Please report it with what `lucid-mlx doctor` prints",
            RuntimeWarning,
            stacklevel=stacklevel,
        )
    return reason is None


class Check:
    """Whether a kernel may be used on this machine.

    Args:
        kernel: what it computes.
        differences: compares it with its definition on a small input, for a dtype and the definition.
    """

    def __init__(self, kernel: str, differences: Callable[[mx.Dtype, Function], dict[str, float]]):
        self.kernel, self.differences = kernel, differences
        self._found: dict[tuple[mx.Dtype, Function], bool] = {}

    def problem(self, dtype: mx.Dtype, definition: Function) -> str | None:
        """Return what is wrong with the kernel, None if nothing.

        Args:
            dtype: that it computes in.
            definition: the same in plain MLX.

        Returns:
            As `problem` does.
        """
        return problem(lambda: self.differences(dtype, definition), dtype)

    def passed(self, dtype: mx.Dtype, definition: Function) -> bool:
        """Return whether the kernel agrees with the definition, found out once; arguments as of `problem`.

        Args:
            dtype: that it computes in.
            definition: the same in plain MLX.

        Returns:
            True if it may be used.
        """
        case = dtype, definition
        if case not in self._found:
            self._found[case] = passes(self.problem(dtype, definition), self.kernel, stacklevel=5)
        return self._found[case]

    def forget(self) -> None:
        """Find out again."""
        self._found.clear()
