import csv
import io
import json

import numpy as np
import pytest
from helpers import SCENES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from results import LABELS, of_masks, segmented
from scipy import ndimage

from lucid_mlx import InputError, Segmentation, Segmenter
from lucid_mlx.datasets import TASKS
from lucid_mlx.results.polygons import mask_polygons, simplified

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(np.any)
RING = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool)


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def drawn(rings, size):
    """The pixels whose centers lie inside of an odd number of rings, (H, W) bool."""
    ys, xs = (axis + 0.5 for axis in np.indices(size))
    inside = np.zeros(size, bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if y0 != y1:
                crosses = (ys >= min(y0, y1)) & (ys < max(y0, y1))
                inside ^= crosses & (xs < x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
    return inside


def signed_area(ring):
    (x, y), (next_x, next_y) = ring.T, np.roll(ring, -1, axis=0).T
    return float(x @ next_y - y @ next_x) / 2


class TestPolygons:
    @settings(deadline=None)
    @given(MASKS)
    def test_drawing_the_rings_gives_the_mask(self, mask):
        polygons = mask_polygons(mask, box_of(mask))
        assert np.array_equal(drawn([ring for polygon in polygons for ring in polygon], mask.shape), mask)
        assert len(polygons) == ndimage.label(mask)[1]
        holes = sum(len(polygon) - 1 for polygon in polygons)
        assert holes == ndimage.label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1] - 1
        areas = [signed_area(ring) for polygon in polygons for ring in polygon]
        assert sum(areas) == mask.sum() - 0.5 * (len(polygons) - holes)

    @settings(deadline=None)
    @given(MASKS)
    def test_coco_draws_them_as_they_are_if_there_is_no_hole(self, mask):
        mask = ndimage.binary_fill_holes(mask)
        outer = [polygon[0].ravel().tolist() for polygon in mask_polygons(mask, box_of(mask)) if len(polygon) == 1]
        back = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(outer, *mask.shape)))
        whole = all(len(polygon) == 1 for polygon in mask_polygons(mask, box_of(mask)))
        assert np.array_equal(back.astype(bool), mask) or not whole

    @settings(deadline=None)
    @given(MASKS)
    def test_outer_rings_and_holes_turn_different_ways_and_have_no_point_on_a_straight_line(self, mask):
        for outer, *holes in mask_polygons(mask, box_of(mask)):
            assert signed_area(outer) > 0
            assert all(signed_area(hole) < 0 for hole in holes)
            for ring in (outer, *holes):
                before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
                assert (before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]).all()

    def test_points_are_in_pixels_from_the_corner_of_the_photo(self):
        (polygons, _) = of_masks(np.pad(np.ones((2, 3)), ((1, 4), (5, 0)))).to_polygons()[::-1]
        ((ring,),) = polygons
        assert ring.min(axis=0).tolist() == [5, 1]
        assert ring.max(axis=0).tolist() == [8, 3]

    @settings(deadline=None)
    @given(MASKS, st.floats(0.1, 5))
    def test_a_simplified_ring_has_fewer_points_of_the_same_all_near_it(self, mask, tolerance):
        for polygon in mask_polygons(mask, box_of(mask)):
            for ring in polygon:
                fewer = simplified(ring, tolerance)
                assert 3 <= len(fewer) <= len(ring)
                assert {tuple(point) for point in fewer} <= {tuple(point) for point in ring}
                ends = np.roll(fewer, -1, axis=0)
                for point in ring:
                    share = ((point - fewer) * (ends - fewer)).sum(axis=1) / ((ends - fewer) ** 2).sum(axis=1)
                    nearest = fewer + share.clip(0, 1)[:, None] * (ends - fewer)
                    assert np.hypot(*(nearest - point).T).min() <= tolerance + 1e-9

    def test_a_diagonal_edge_gets_simple(self):
        (mask,) = np.tri(40, dtype=bool)[None]
        ((exact,),), ((simple,),) = (mask_polygons(mask, box_of(mask), tolerance) for tolerance in (0, 1))
        assert len(exact) > len(simple)
        assert len(simple) == 3

    @pytest.mark.parametrize("tolerance", [-1, "1", None])
    def test_a_tolerance_is_a_number_from_zero(self, tolerance):
        with pytest.raises(InputError, match="tolerance must be"):
            segmented("panoptic").to_polygons(tolerance)


class TestGeoJSON:
    @pytest.mark.parametrize("task", TASKS)
    def test_a_feature_has_the_outline_and_what_is_known_of_a_segment(self, task):
        result = segmented(task, 3)
        collection = json.loads(json.dumps(result.to_geojson()))
        assert collection["type"] == "FeatureCollection"
        assert [feature["properties"] for feature in collection["features"]] == [
            json.loads(json.dumps(one)) for one in result.to_json()["segments"]
        ]
        for feature, segment, mask in zip(collection["features"], result.segments, result.masks, strict=True):
            geometry = feature["geometry"]
            assert (feature["type"], feature["id"]) == ("Feature", segment.id)
            parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
            assert geometry["type"] == ("Polygon" if len(parts) == 1 else "MultiPolygon")
            for ring in (ring for part in parts for ring in part):
                assert len(ring) >= 4
                assert ring[0] == ring[-1]
            rings = [np.array(ring[:-1]) for part in parts for ring in part]
            assert np.array_equal(drawn(rings, mask.shape), mask)
            assert all(signed_area(np.array(outer)) > 0 for outer, *_ in parts)

    def test_a_hole_is_a_ring_after_the_outer_one(self):
        feature = of_masks(np.pad(RING, 1)).to_geojson()["features"][1]
        assert feature["properties"]["label"] == "c0"
        assert [len(ring) for ring in feature["geometry"]["coordinates"]] == [9, 7]


class TestYOLO:
    @settings(deadline=None)
    @given(MASKS)
    def test_the_outline_of_a_line_has_the_parts_and_the_holes_of_a_mask(self, mask):
        result = of_masks(mask)
        lines = result.to_yolo().splitlines()
        assert len(lines) == len(result.segments)
        for line, segment in zip(lines, result.segments, strict=True):
            number, *coordinates = line.split()
            assert int(number) == segment.label_id
            points = np.array(coordinates, float).reshape(-1, 2)
            assert len(points) >= 3
            assert points.min() >= 0
            assert points.max() <= 1
            # Six digits are 1e-5 of a pixel here: points are multiples of a half.
            points = np.round(points * mask.shape[::-1] * 2) / 2
            assert np.array_equal(drawn([points], mask.shape), result.mask(segment))

    def test_nothing_is_no_line(self):
        assert segmented("instance", threshold=1.0).to_yolo() == ""


class TestTable:
    @pytest.mark.parametrize("task", TASKS)
    def test_a_row_has_what_is_known_of_a_segment(self, task):
        result = segmented(task, 3)
        rows = list(csv.DictReader(io.StringIO(result.to_csv())))
        for row, segment in zip(rows, result.segments, strict=True):
            assert row["image"] == "photos/cat.jpg"
            assert (int(row["id"]), int(row["label_id"]), row["label"]) == (segment.id, segment.label_id, segment.label)
            assert row["score"] == ("" if segment.score is None else repr(segment.score))
            assert int(row["area"]) == segment.area
            assert tuple(int(row[side]) for side in ("left", "top", "right", "bottom")) == segment.box
        assert result.to_csv(header=False) == result.to_csv().partition("\n")[2]

    def test_commas_and_quotes_in_names_stay(self):
        label = 'a "sofa", or\nnot'
        result = Segmentation.from_semantic(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.int32), {0: label})
        assert next(csv.DictReader(io.StringIO(result.to_csv())))["label"] == label


@pytest.mark.parametrize(("method", "library"), [("to_pandas", "pandas"), ("to_supervision", "supervision")])
def test_a_missing_library_is_named(method, library, monkeypatch):
    monkeypatch.setattr("lucid_mlx.utils.optional_dependency.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"needs the library {library}, .*pip install 'lucid-mlx\[exports\]'"):
        getattr(segmented("panoptic"), method)()


class TestNotebooks:
    @pytest.mark.parametrize("task", TASKS)
    def test_a_result_shows_a_picture_and_a_row_for_each_segment(self, task):
        result = segmented(task, 3)
        shown = result._repr_html_()
        assert 'src="data:image/png;base64,' in shown
        assert shown.count("<tr>") == 1 + len(result.segments)
        assert all(segment.label in shown for segment in result.segments)

    def test_names_are_text(self):
        labels = dict.fromkeys(LABELS, "<script>alert(1)</script>")
        image = np.zeros((1, 1, 3), np.uint8)
        shown = Segmentation.from_semantic(image, np.zeros((1, 1), np.int32), labels, "<b>")._repr_html_()
        assert "<script>" not in shown
        assert "<b>" not in shown

    def test_nothing_has_no_table_and_much_is_cut(self):
        assert "<table>" not in segmented("panoptic", threshold=1.0)._repr_html_()
        many = of_masks(*np.eye(30, dtype=bool)[:, None, :])._repr_html_()
        assert many.count("<tr>") == 21
        assert "and 10 more" in many

    def test_a_segmenter_shows_what_it_is(self):
        shown = Segmenter(SCENES, threshold=0.25)._repr_html_()
        assert "<td>panoptic</td>" in shown
        assert "T-shirt" in shown
        assert "<td>0.25</td>" in shown
