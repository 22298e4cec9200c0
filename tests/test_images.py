import mlx.core as mx
import numpy as np
import pytest
from PIL import ImageDraw

from lucid_mlx.images import draw_semantic, postprocess, semantic_map


@pytest.mark.parametrize("target", [(40, 56), (13, 9), (200, 300), (1, 1), (3, 500)])
def test_the_map_equals_its_definition_however_it_is_cut_into_strips(target, monkeypatch):
    mx.random.seed(0)
    classes, masks = 3 * mx.random.normal((7, 5)), 4 * mx.random.normal((7, 10, 14))
    whole = semantic_map(classes, masks, (40, 56), target)
    monkeypatch.setattr(postprocess, "STRIP_BYTES", 3000)
    assert np.array_equal(whole, semantic_map(classes, masks, (40, 56), target))

    from lucid_mlx.ops import resize_planes

    probabilities = mx.softmax(classes, axis=-1)[:, :-1]
    seen = mx.sigmoid(resize_planes(masks, (40, 56)))
    scores = np.array(resize_planes(mx.einsum("qc,qhw->chw", probabilities, seen), target))
    top = np.sort(scores, axis=0)
    clear = top[-1] - top[-2] > 1e-5
    assert np.array_equal(whole[clear], scores.argmax(0)[clear])
    assert whole.dtype == np.int32


class TestDrawing:
    @pytest.mark.parametrize("size", [(1, 1), (3, 900), (400, 3), (50, 70), (300, 500)])
    def test_pictures_of_any_size_are_drawn(self, size):
        rng = np.random.default_rng(0)
        picture = draw_semantic(
            rng.integers(0, 256, (*size, 3), dtype=np.uint8),
            rng.integers(0, 40, size),
            {number: f"class {number}" for number in range(30)},
            note="a note",
        )
        assert picture.mode == "RGB"
        assert max(picture.size) >= 480

    def test_names_never_cover_each_other(self, monkeypatch):
        written = []
        text = ImageDraw.ImageDraw.text

        def recording(self, xy, name, **options):
            if options.get("stroke_width"):
                written.append(name)
            text(self, xy, name, **options)

        monkeypatch.setattr(ImageDraw.ImageDraw, "text", recording)
        classes = np.zeros((300, 600), int)
        classes[:, 300:] = 1
        name = "a name that is wider than half of the picture it stands in, and so reaches into the other half"
        draw_semantic(np.zeros((300, 600, 3), np.uint8), classes, {0: name[:60], 1: name[:60]})
        assert len(written) == 1
        draw_semantic(np.zeros((300, 600, 3), np.uint8), classes, {0: "left", 1: "right"})
        assert len(written) == 3

    def test_a_segment_without_room_is_not_named(self):
        classes = np.zeros((300, 500), int)
        classes[100:103, 100:400] = 1
        image = np.full((300, 500, 3), 128, np.uint8)
        pictures = [np.asarray(draw_semantic(image, classes, {0: "", 1: name}))[:300] for name in ("", "a thin line")]
        assert np.array_equal(*pictures)

    def test_each_class_is_tinted_outlined_named_and_listed(self):
        classes = np.zeros((300, 500), int)
        classes[:, 250:] = 1
        image = np.full((300, 500, 3), 128, np.uint8)
        plain = np.asarray(draw_semantic(image, classes, {0: "", 1: ""}))
        named = np.asarray(draw_semantic(image, classes, {0: "left", 1: "right"}))
        assert not np.array_equal(plain[10, 10], plain[10, 400])
        assert (plain[:300, 249] == 255).all()
        for half in (slice(0, 240), slice(260, 500)):
            assert not np.array_equal(plain[:300, half], named[:300, half])
        assert not np.array_equal(plain[300:], named[300:])
