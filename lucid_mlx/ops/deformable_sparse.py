"""Multi-scale deformable attention as a product with a sparse matrix, for inference on the CPU.

The matrix has a row for each query and head, with the shares of its samples' corners. SciPy multiplies it with the
sheets without a copy of the corners, twice as fast as the plain operations.
"""

import mlx.core as mx
import numpy as np

from lucid_mlx.ops.deformable_plain import mix
from lucid_mlx.ops.deformable_samples import Levels, place
from lucid_mlx.ops.streams import in_threads

_ROWS = 1 << 14  # of the matrix at a time: some megabytes


def deformable_attention_sparse(value: mx.array, levels: Levels, locations: mx.array, weights: mx.array) -> mx.array:
    """Compute `multi_scale_deformable_attention` at once, or in plain operations where MLX wants a graph."""
    samples = place(value, levels, locations, weights)
    try:
        mx.async_eval(*samples[:3])
    except ValueError:  # in mx.compile there are no numbers, and a gradient's graph would keep all that is evaluated
        mixed = mix(*samples)
    else:
        mixed = _mix(*samples)
    return mixed.reshape(*weights.shape[:2], -1)


def _mix(sheets: mx.array, cells: mx.array, shares: mx.array, width: int) -> mx.array:
    from scipy.sparse import csr_array  # takes longer to import than all of this package, and a GPU does not need it

    table, places, portions = (np.asarray(array) for array in (sheets.astype(mx.float32), cells, shares))
    corners = np.array([0, 1, width, width + 1], np.int32)
    mixed = np.empty((len(cells), table.shape[1]), np.float32)

    def compute(first: int) -> None:
        rows = slice(first, first + _ROWS)
        columns = places[rows, :, None] + corners
        ends = np.arange(0, columns.size + 1, columns[0].size, dtype=np.int32)
        matrix = csr_array((portions[rows].ravel(), columns.ravel(), ends), shape=(len(columns), len(table)))
        mixed[rows] = matrix @ table

    in_threads(compute, range(0, len(cells), _ROWS))
    return mx.array(mixed).astype(sheets.dtype)
