"""Bilinear samples of planes at points, `align_corners=False`."""

import mlx.core as mx

from lucid_mlx.backends import accelerated


@accelerated
def point_sample(planes: mx.array, points: mx.array) -> mx.array:
    """Sample planes bilinearly at points that all planes of an image share.

    A corner of a sample outside the plane is zero: samples near a border mix with zeros, those beyond are zero.

    Args:
        planes: (B, C, H, W), of any dtype.
        points: (B, N, 2) float32 as (x, y); 0 and 1 are the outer borders of a plane.

    Returns:
        (B, C, N) float32. Differentiable in the planes; no gradient reaches the points.
    """
    batch, channels, height, width = planes.shape
    # A border of zeros, one cell wide on the left and top and two on the right and bottom.
    stride, rows = width + 3, height + 3
    flat = mx.pad(planes, [(0, 0), (0, 0), (1, 2), (1, 2)]).reshape(batch, channels, rows * stride)
    # Arrays, so that one compiled loop serves all sizes.
    x, y, columns, lines = points[:, None, :, 0], points[:, None, :, 1], mx.array(float(width)), mx.array(float(height))
    first, right, below = map(mx.stop_gradient, _cells(x, y, columns, lines))

    def corner_values(step: int) -> mx.array:
        cells = mx.broadcast_to(first + step, (batch, channels, points.shape[1]))
        return mx.take_along_axis(flat, cells, axis=2)

    top = corner_values(0), corner_values(1)
    return _mix(*top, corner_values(stride), corner_values(stride + 1), right, below)


@mx.compile
def _cells(x: mx.array, y: mx.array, width: mx.array, height: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Return the cell of the upper left corner, in the plane with its border, and how far right and below of it."""
    (column, right), (row, below) = _along(x, width), _along(y, height)
    return row * (width.astype(mx.int32) + 3) + column, right, below


def _along(x: mx.array, size: mx.array) -> tuple[mx.array, mx.array]:
    # -1 and `size` are the centers of border cells; beyond them lies nothing else.
    x = x * size - 0.5
    x = mx.where(x < -1.0, -1.0, mx.where(x > size, size, x))
    cell = mx.where(x == x, x + 1.0, 0.0).astype(mx.int32)  # a NaN stays in the table, and is one by its share
    return cell, x - (cell.astype(mx.float32) - 1.0)


@mx.compile
def _mix(
    top_left: mx.array,
    top_right: mx.array,
    bottom_left: mx.array,
    bottom_right: mx.array,
    right: mx.array,
    below: mx.array,
) -> mx.array:
    left = 1.0 - right
    return (1.0 - below) * (left * top_left + right * top_right) + below * (left * bottom_left + right * bottom_right)
