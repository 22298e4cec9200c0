"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021, equation 3)."""

import mlx.core as mx

from lucid_mlx.backends import accelerated

Levels = list[tuple[int, int]]


@accelerated
def multi_scale_deformable_attention(
    value: mx.array, levels: Levels, locations: mx.array, weights: mx.array
) -> mx.array:
    """Sum bilinear samples of several feature maps, weighted by attention.

    Args:
        value: (B, S, heads, D), the maps of all levels, flattened row by row and concatenated.
        levels: the height and width of each level, in the order of `value`; the areas add up to S.
        locations: (B, Q, heads, levels, points, 2) as (x, y); 0 and 1 are the outer borders of a map. Samples
            outside are zero, those near a border mix with zeros.
        weights: (B, Q, heads, levels, points).

    Returns:
        (B, Q, heads * D) in the dtype of `value`. Differentiable in `value`, `locations` and `weights`.
    """
    batch, queries, heads = locations.shape[:3]
    value = value.swapaxes(1, 2)
    total, first = mx.zeros((batch, heads, queries, value.shape[-1]), value.dtype), 0
    for level, size in enumerate(levels):
        area = size[0] * size[1]
        points = locations[:, :, :, level].swapaxes(1, 2)  # (B, heads, Q, points, 2)
        share = weights[:, :, :, level].swapaxes(1, 2)  # (B, heads, Q, points)
        total = total + _bilinear_sum(value[:, :, first : first + area], size, points, share)
        first += area
    return total.swapaxes(1, 2).reshape(batch, queries, -1)


def _bilinear_sum(values: mx.array, size: tuple[int, int], points: mx.array, share: mx.array) -> mx.array:
    """Add the samples of one level up; its values are (B, heads, H * W, D)."""
    height, width = size
    batch, heads, area, dim = values.shape
    # Clamp: beyond -1 and the size all is zero. A NaN passes through.
    last = mx.array([width, height], mx.float32)
    pixels = points.astype(mx.float32) * last - 0.5
    pixels = mx.where(pixels < -1.0, -1.0, mx.where(pixels >= last, last, pixels))
    x, y = pixels[..., 0], pixels[..., 1]
    left, top = (mx.stop_gradient(mx.floor(mx.where(axis == axis, axis, 0.0))) for axis in (x, y))
    flat = values.reshape(-1, dim)
    starts = (mx.arange(batch * heads) * area).reshape(batch, heads, 1, 1)
    total = mx.zeros((batch, heads, points.shape[2], dim), values.dtype)
    for column, across in ((left, 1.0 - (x - left)), (left + 1.0, x - left)):
        for row, down in ((top, 1.0 - (y - top)), (top + 1.0, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            cell = mx.where(inside, row * width + column, 0.0).astype(mx.int32)
            weight = (across * down * inside).astype(values.dtype) * share.astype(values.dtype)
            total = total + (weight[..., None] * flat[starts + cell]).sum(axis=3)
    return total
