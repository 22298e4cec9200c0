"""Bilinear samples of planes at points, `align_corners=False`."""

import mlx.core as mx


def point_sample(planes: mx.array, points: mx.array) -> mx.array:
    """Sample planes bilinearly at points that all planes of an image share.

    A corner of a sample outside the plane is zero: samples near a border mix with zeros, those beyond are zero.

    Args:
        planes: (B, C, H, W), of any dtype.
        points: (B, N, 2) float32 as (x, y); 0 and 1 are the outer borders of a plane.

    Returns:
        (B, C, N) float32. Differentiable in both.
    """
    batch, channels, height, width = planes.shape
    # A border of zeros, one cell wide on the left and top and two on the right and bottom.
    stride, rows = width + 3, height + 3
    flat = mx.pad(planes, [(0, 0), (0, 0), (1, 2), (1, 2)]).reshape(batch, channels, rows * stride)
    size = mx.array([width, height], mx.float32)
    # -1 and `size` are the centres of border cells; beyond them lies nothing else.
    pixels = mx.minimum(size, mx.maximum(-1.0, points * size - 0.5))
    corner = mx.stop_gradient(mx.floor(pixels))
    shares = pixels - corner
    column, row = (corner[:, None, :, axis].astype(mx.int32) for axis in range(2))
    right, below = (shares[:, None, :, axis] for axis in range(2))
    # A NaN becomes any integer: kept in the table it gives NaN.
    first = mx.clip(row * stride + column + (stride + 1), 0, (rows - 1) * stride - 2)

    def corner_values(step: int) -> mx.array:
        cells = mx.broadcast_to(first + step, (batch, channels, points.shape[1]))
        return mx.take_along_axis(flat, cells, axis=2)

    top = corner_values(0), corner_values(1)
    return _mix(*top, corner_values(stride), corner_values(stride + 1), right, below)


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
