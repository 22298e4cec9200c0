"""pandas and shapely take what results give; `pip install pandas shapely`."""

import json

import numpy as np
import pandas
import pytest
import shapely
from results import segmented

from lucid_mlx.datasets import TASKS


@pytest.mark.parametrize("task", TASKS)
def test_pandas_has_a_row_for_each_segment(task, tmp_path):
    result = segmented(task, 3)
    frame = result.to_pandas()
    assert frame.label.tolist() == [segment.label for segment in result.segments]
    assert frame.area.tolist() == [segment.area for segment in result.segments]
    assert frame[["left", "top", "right", "bottom"]].to_numpy().tolist() == [list(one.box) for one in result.segments]
    if task == "semantic":
        assert frame.score.isna().all()
    else:
        assert frame.score.tolist() == [segment.score for segment in result.segments]
    path = tmp_path / "segments.csv"
    path.write_text(result.to_csv())
    pandas.testing.assert_frame_equal(pandas.read_csv(path), frame, check_dtype=False)


def test_tables_of_several_photos_have_the_same_types():
    nothing, something = segmented("panoptic", threshold=1.0).to_pandas(), segmented("panoptic", 3).to_pandas()
    assert list(nothing.columns) == list(something.columns)
    assert len(nothing) == 0
    numbers = [column for column in nothing if column not in ("image", "label")]
    assert nothing[numbers].dtypes.tolist() == something[numbers].dtypes.tolist()


@pytest.mark.parametrize("task", TASKS)
def test_shapely_reads_valid_shapes_that_cover_the_masks(task):
    result = segmented(task, 3)
    collection = shapely.from_geojson(json.dumps(result.to_geojson()))
    ys, xs = (axis.ravel() + 0.5 for axis in np.indices(result.map.shape))
    assert len(collection.geoms) == len(result.segments) > 1
    for shape, mask, polygons in zip(collection.geoms, result.masks, result.to_polygons(), strict=True):
        assert shape.is_valid
        assert np.array_equal(shapely.contains_xy(shape, xs, ys).reshape(mask.shape), mask)
        parts = shape.geoms if shape.geom_type == "MultiPolygon" else [shape]
        assert all(part.exterior.is_ccw for part in parts)
        assert not any(hole.is_ccw for part in parts for hole in part.interiors)
        made = shapely.MultiPolygon([(outer, holes) for outer, *holes in polygons])
        assert made.equals(shape)


def test_simplified_shapes_stay_near():
    result = segmented("panoptic", 3, size=(200, 300))
    exact, simple = (shapely.from_geojson(json.dumps(result.to_geojson(tolerance))) for tolerance in (0, 2))
    assert shapely.get_num_coordinates(simple) < 0.5 * shapely.get_num_coordinates(exact)
    for one, other in zip(exact.geoms, simple.geoms, strict=True):
        assert one.hausdorff_distance(other) <= 2
