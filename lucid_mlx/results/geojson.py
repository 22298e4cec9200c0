"""Segments as GeoJSON (RFC 7946)."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lucid_mlx.results.export import segment_json
from lucid_mlx.results.polygons import Polygon
from lucid_mlx.results.segment import Segment


def feature_collection(segments: Sequence[Segment], polygons: Iterable[Sequence[Polygon]]) -> dict[str, Any]:
    """Return segments as a FeatureCollection in pixels.

    Args:
        segments: the segments.
        polygons: of each segment, as `mask_polygons` makes them.

    Returns:
        A feature for each segment, ready for JSON.
    """
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "id": segment.id, "geometry": _geometry(parts), "properties": segment_json(segment)}
            for segment, parts in zip(segments, polygons, strict=True)
        ],
    }


def _geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    # The first point comes again at the end (RFC 7946, section 3.1.6).
    coordinates = [[np.concatenate([ring, ring[:1]]).tolist() for ring in polygon] for polygon in polygons]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}
