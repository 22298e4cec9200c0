"""The error of a 3x3 convolution of 256 channels in half precision: the direct way, and Winograd's F(6x6, 3x3).

    python benchmarks/winograd.py

MLX's Metal backend takes Winograd's way in every dtype (conv.cpp, MLX 0.32). It is emulated here on the CPU: what its
kernels write to memory (transformed weights, transformed tiles, products) is rounded to the type, sums are float32. The
figures are rms errors, relative to the rms, on normal data.
"""

import argparse

import mlx.core as mx
import numpy as np

CHANNELS, TILES = 256, 64
POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)


def transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the matrices of outputs (6, 8), weights (8, 3) and inputs (8, 8): Toom and Cook's, through 7 points."""
    to_outputs = np.array([[p**i for p in POINTS] + [float(i == 5)] for i in range(6)])
    to_weights = np.array([[p**i for i in range(3)] for p in POINTS] + [[0.0, 0.0, 1.0]])
    # Inputs: what makes the algorithm exact, found as the solution of its defining equations.
    equations, wanted = [], []
    for output in range(6):
        for tap in range(3):
            equations.append(to_outputs[output] * to_weights[:, tap])
            wanted.append(np.eye(8)[output + tap])
    to_inputs = np.linalg.lstsq(np.array(equations), np.array(wanted), rcond=None)[0]
    return to_outputs, to_weights, to_inputs


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rng = np.random.default_rng(0)
    tiles = rng.standard_normal((TILES, 8, 8, CHANNELS)).astype(np.float32)
    weight = (rng.standard_normal((CHANNELS, 3, 3, CHANNELS)) / (3 * CHANNELS**0.5)).astype(np.float32)
    outputs, weights, inputs = (matrix.astype(np.float32) for matrix in transforms())
    print("| type | direct | Winograd |\n|---|---|---|")
    for dtype in (mx.float16, mx.bfloat16, mx.float32):

        def rounded(x: np.ndarray, dtype: mx.Dtype = dtype) -> np.ndarray:
            return np.array(mx.array(x.astype(np.float32)).astype(dtype).astype(mx.float32))

        def winograd(x: np.ndarray, w: np.ndarray) -> np.ndarray:
            u = rounded(np.einsum("ai,oijc,bj->abco", weights, w, weights, optimize=True))
            v = rounded(np.einsum("ai,tijc,bj->abtc", inputs, x, inputs, optimize=True))
            products = rounded(v @ u)
            return rounded(np.einsum("pa,abto,qb->tpqo", outputs, products, outputs, optimize=True))

        def direct(x: np.ndarray, w: np.ndarray) -> np.ndarray:
            return np.array(mx.conv2d(mx.array(x), mx.array(w)))

        x, w = rounded(tiles), rounded(weight)
        exact = direct(x, w)
        rows = [rounded(exact), winograd(x, w)]
        errors = [np.sqrt(np.square(row - exact).mean() / np.square(exact).mean()) for row in rows]
        print(f"| {str(dtype).removeprefix('mlx.core.')} | {errors[0]:.1e} | {errors[1]:.1e} |")


if __name__ == "__main__":
    main()
