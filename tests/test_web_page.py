"""The page's own parts that need no gradio: who may talk to it, and which files stay."""

import asyncio
import os
import time

import pytest

from lucid_mlx.cli.web_files import AnswerFiles
from lucid_mlx.cli.web_guard import OnlyThisMachine

OURS = {"host": "127.0.0.1:7860"}


def status(headers, method="GET", kind="http", port=7860):
    """The status of the answer; 200 is of the app behind the guard."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    pairs = headers.items() if isinstance(headers, dict) else headers
    raw = [(name.encode(), value.encode()) for name, value in pairs]
    scope = {"type": kind, "method": method, "headers": raw, "server": ("127.0.0.1", port)}
    asyncio.run(OnlyThisMachine(app)(scope, None, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST:7860", "[::1]:7860"])
def test_the_names_of_this_machine_are_answered(host):
    assert status({"host": host}) == 200
    assert status({"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}, "POST") == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7860",
        "127.0.0.1",
        "127.0.0.1:7861",
        "127.0.0.1.evil.example:7860",
        "0.0.0.0:7860",
        "",
    ],
)
def test_other_names_are_refused_since_a_foreign_page_can_make_them_point_here(host):
    assert status({"host": host}) == 403
    assert status({"host": host}, kind="websocket") == "websocket.close"


def test_a_host_must_be_named_once():
    assert status({}) == 403
    assert status([("host", "127.0.0.1:7860"), ("host", "evil.example")]) == 403


def test_port_80_need_not_be_named():
    assert status({"host": "localhost"}, port=80) == 200
    assert status({"host": "localhost"}) == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:7860", "http://127.0.0.1:7861", "http://localhost"]
)
def test_requests_of_other_pages_are_refused(origin):
    for method in ("GET", "POST", "OPTIONS"):
        assert status({**OURS, "origin": origin}, method) == 403
    assert status({**OURS, "origin": origin}, kind="websocket") == "websocket.close"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_can_link_here_but_take_nothing_from_here(site):
    foreign = {**OURS, "sec-fetch-site": site}
    assert status({**foreign, "sec-fetch-dest": "document"}) == 200
    assert status({**foreign, "sec-fetch-dest": "document"}, "POST") == 403
    for part in ("image", "iframe", "script", "empty"):
        assert status({**foreign, "sec-fetch-dest": part}) == 403
    assert status(foreign) == 403
    assert status({**OURS, "sec-fetch-site": "none"}) == 200


class Page:
    """Gradio as far as files go: it makes a folder for each upload, and for each picture that it shows."""

    def __init__(self, folder):
        self.folder, self.uploads, self.number = folder, set(), 0
        self.files = AnswerFiles(folder, self.uploads)

    def _file(self, name):
        self.number += 1
        path = self.folder / f"{self.number:064}" / name
        path.parent.mkdir()
        path.write_bytes(bytes(1000))
        return path

    def upload(self):
        path = str(self._file("photo.jpg"))
        self.uploads.add(path)
        return path

    def answer(self, session, photo, error=None):
        with self.files.answer(session, photo) as place:
            if error:
                raise error
            (place / "photo.png").write_bytes(bytes(1000))
        for _ in range(3):
            self._file("mask.png")
        (self.folder / f"tmp{self.number}").touch()  # which gradio leaves
        self.later(2)
        return place

    def later(self, seconds):
        for path in self.folder.iterdir():
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))

    def size(self):
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@pytest.fixture
def page(tmp_path):
    return Page(tmp_path)


def test_of_ten_uploads_the_last_one_and_its_answer_stay(page):
    sizes = []
    for _ in range(10):
        photo = page.upload()
        place = page.answer("a", photo)
        sizes.append(page.size())
    assert max(sizes[1:]) <= 2 * sizes[0]
    page.answer("a", photo)
    assert page.size() <= 2 * sizes[0]
    assert not place.exists()
    page.files.forget("a")
    assert page.size() == 0


def test_the_photo_stays_for_further_answers_about_it(page):
    photo = page.upload()
    first, second = page.answer("a", photo), page.answer("a", photo)
    assert not first.exists()
    assert second.exists()
    assert os.path.exists(photo)  # noqa: PTH110


def test_sessions_do_not_remove_each_others_files(page):
    first, second = page.upload(), page.upload()
    places = [page.answer("a", first), page.answer("b", second)]
    waiting = page.upload()
    page.later(60)
    page.answer("b", second)
    page.files.forget("b")
    assert places[0].exists()
    assert {first, waiting} <= {str(path) for path in page.folder.rglob("*.jpg")}
    assert second not in {str(path) for path in page.folder.rglob("*.jpg")}


def test_a_photo_without_an_answer_goes_and_the_earlier_answer_stays(page):
    photo = page.upload()
    place = page.answer("a", photo)
    bad = page.upload()
    with pytest.raises(ValueError, match="no photo"):
        page.answer("a", bad, ValueError("no photo"))
    with pytest.raises(ValueError, match="no memory"):
        page.answer("a", photo, ValueError("no memory"))
    assert place.exists()
    assert [str(path) for path in page.folder.rglob("*.jpg")] == [photo]


def test_an_answer_that_takes_long_keeps_its_files_while_others_come_and_go(page):
    """As a video does."""
    page.answer("b", page.upload())
    film = page.upload()
    with page.files.answer("a", film) as place:
        page.later(700)
        page.files.forget("b")
        assert place.exists()
        assert os.path.exists(film)  # noqa: PTH110
    page.files.forget("a")
    assert page.size() == 0


def test_uploads_that_nobody_waits_for_go_in_time(page):
    left = page.upload()
    (page.folder / "tmpunfinished").write_bytes(bytes(1000))
    page.later(30)
    page.answer("a", page.upload())
    assert (page.folder / "tmpunfinished").exists()
    page.later(100)
    page.answer("a", page.upload())
    assert not (page.folder / "tmpunfinished").exists()
    assert left in {str(path) for path in page.folder.rglob("*.jpg")}
    page.later(600)
    page.files.forget("a")
    assert page.size() == 0


def test_nothing_outside_of_the_folder_is_removed(page, tmp_path_factory):
    outside = tmp_path_factory.mktemp("photos") / "mine.jpg"
    outside.write_bytes(b"x")
    with pytest.raises(ValueError, match="no photo"):
        page.answer("a", str(outside), ValueError("no photo"))
    with pytest.raises(ValueError, match="no photo"):
        page.answer("a", str(page.folder), ValueError("no photo"))
    page.answer("a", str(outside))
    page.files.forget("a")
    assert outside.exists()
    assert page.folder.exists()
    assert time.time() - page.folder.stat().st_mtime < 60
