"""Downloads and the cache, with a hub on 127.0.0.1: every failure is an InputError and leaves a valid cache."""

import hashlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_hub import commit_of
from helpers import write_huggingface

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.weights.address import HubAddress, WebAddress, parse_address
from lucid_mlx.weights.cache import cached_path, remove_cached
from lucid_mlx.weights.download import blob_path, download, sha256
from lucid_mlx.weights.registry import WeightEntry

NAME = "somebody/mask2former-tiny"


@pytest.fixture
def published(hub, tmp_path):
    """Publish a Hugging Face model; the folder with its files."""
    folder = write_huggingface(tmp_path / "theirs")
    hub.add(NAME, folder)
    hub.files[NAME]["README.md"] = b"---\nlicense: apache-2.0\n---\n# Tiny\n"
    return folder


def entry(hub, data: bytes, digest: str | None = None) -> WeightEntry:
    hub.files["lucid/files"] = {"weights/a.safetensors": data}
    return WeightEntry("hf://lucid/files@main/weights/a.safetensors", digest or hashlib.sha256(data).hexdigest(), "A")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a/b", HubAddress("a/b")),
        ("a/b@v1.2", HubAddress("a/b", "v1.2")),
        ("hf://a/b", HubAddress("a/b")),
        ("hf://a/b@v1/c/d.pth", HubAddress("a/b", "v1", "c/d.pth")),
        ("https://huggingface.co/a/b", HubAddress("a/b")),
        ("https://huggingface.co/a/b/resolve/main/c.pth?download=true", HubAddress("a/b", "main", "c.pth")),
        ("https://huggingface.co/a/b/tree/v2", HubAddress("a/b", "v2")),
        ("https://example.org/x/model.pkl", WebAddress("https://example.org/x/model.pkl")),
    ],
)
def test_an_address_is_parsed(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["a/b/c", "/no/such/file", "./a/b", "model.pth", "", "a b/c", "hf://a", "@/x"])
def test_an_invalid_address_is_reported(text):
    with pytest.raises(InputError, match=r"does not exist; expected a file|not an address on the hub"):
        parse_address(text)


def test_an_existing_path_takes_precedence_over_a_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facebook").mkdir()
    (tmp_path / "facebook" / "model").mkdir()
    assert parse_address("facebook/model") == Path("facebook/model")


def test_a_model_of_the_hub_is_loaded_by_name(hub, published, tmp_path):
    model = lucid_mlx.load(NAME)
    assert model.config.id2label == {0: "cup", 1: "table", 2: "spoon"}
    assert lucid_mlx.load(convert(published, tmp_path / "ours")).config == model.config


def test_a_conversion_records_its_source(hub, published, tmp_path):
    folder = convert(f"{NAME}@main", tmp_path / "ours")
    metadata = lucid_mlx.weights.read_checkpoint(folder).metadata
    assert metadata["source"] == NAME
    assert metadata["revision"] == commit_of(NAME)
    assert metadata["license"] == "apache-2.0"
    assert metadata["sha256"] == sha256(published / "model.safetensors")
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n")
    for fact in (
        "license: apache-2.0",
        f"base_model: {NAME}",
        "library_name: mlx",
        commit_of(NAME),
        "0 cup, 1 table, 2 spoon",
    ):
        assert fact in card


def test_only_the_files_of_the_checkpoint_are_downloaded(hub, published):
    hub.files[NAME] |= {"pytorch_model.bin": b"x" * 100, "tf_model.h5": b"x" * 100}
    download(NAME)
    names = {path.rsplit("/", 1)[1] for path in hub.downloads()}
    assert names == {"model.safetensors", "config.json", "preprocessor_config.json", "README.md"}


def test_a_model_in_shards_or_in_torch_s_format_is_found(hub, published):
    data = hub.files[NAME].pop("model.safetensors")
    hub.files[NAME] |= {
        "model.safetensors.index.json": b'{"weight_map": {"a": "s1.safetensors", "b": "s2.safetensors"}}',
        "s1.safetensors": data,
        "s2.safetensors": b"b",
    }
    assert {file.name for file in download(NAME).path.iterdir()} >= {
        "s1.safetensors",
        "s2.safetensors",
        "config.json",
    }
    hub.files["a/bin"] = {"pytorch_model.bin": b"pickle", "config.json": b"{}"}
    assert (download("a/bin").path / "pytorch_model.bin").read_bytes() == b"pickle"


def test_an_index_that_leads_out_of_the_repository_is_refused(hub):
    hub.files["a/b"] = {"model.safetensors.index.json": b'{"weight_map": {"a": "../../../x.safetensors"}}'}
    with pytest.raises(InputError, match="which is not in the same folder"):
        download("a/b")


def test_cached_files_are_not_downloaded_again(hub, published):
    first = download(NAME)
    hub.requests.clear()
    assert download(NAME) == first
    assert hub.downloads() == []


def test_lucid_home_is_the_cache_folder(hub, published, tmp_path):
    assert download(NAME).path.is_relative_to(tmp_path / "lucid" / "weights")


@pytest.mark.parametrize("broken", ["status", "closed", "lucid", "huggingface"])
def test_cached_files_load_without_a_hub(broken, hub, published, monkeypatch):
    from huggingface_hub import constants

    first = download(NAME)
    if broken == "status":
        hub.status = 503
    elif broken == "closed":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
        )
    elif broken == "lucid":
        monkeypatch.setenv("LUCID_WEIGHTS_OFFLINE", "1")
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert download(NAME) == first
    if broken != "status":
        assert hub.requests == []


@pytest.mark.parametrize("switch", ["lucid", "huggingface"])
def test_offline_files_that_are_not_cached_are_reported(switch, hub, published, monkeypatch):
    from huggingface_hub import constants

    if switch == "lucid":
        monkeypatch.setenv("LUCID_WEIGHTS_OFFLINE", "1")
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in (NAME, f"{hub.url}/web/x.pth"):
        with pytest.raises(InputError, match="is not in the cache, and downloads are switched off"):
            download(name)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "asks for a login|nor a public model on the hub"),
        (403, r"HTTP 403\): access is denied"),
        (404, "HTTP 404|nor a public model"),
        (429, r"HTTP 429\): too many requests"),
        (503, r"HTTP 503\): the server has a problem"),
    ],
)
def test_a_hub_that_refuses_is_reported(status, message, hub, published):
    hub.status = status
    with pytest.raises(InputError, match=message):
        download(NAME)
    hub.status = None
    assert download(NAME).path.is_dir()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nobody/nothing", "nobody/nothing is neither a folder on this disk nor a public model on the hub"),
        (f"{NAME}@v9", "has no revision 'v9'"),
        (f"hf://{NAME}/other.pth", "has no file other.pth at main"),
        ("a/--b", "is not a valid name on the hub|nor a public model"),
    ],
)
def test_a_name_that_the_hub_does_not_know_is_reported(name, message, hub, published):
    with pytest.raises(InputError, match=message):
        download(name)


def test_a_repository_without_weights_is_reported(hub):
    hub.files["a/b"] = {"config.json": b"{}"}
    with pytest.raises(InputError, match=r"a/b has no weights; expected model.safetensors"):
        download("a/b")


def test_a_hub_that_cannot_be_reached_is_reported(published, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(InputError, match="is no file or folder here, and is not in the cache, and the hub cannot"):
        download(NAME)


def test_an_interrupted_download_is_resumed(hub, published, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.cut = 150_000  # of 520 kB: every retry gets another piece
    assert sha256(download(NAME).path / "model.safetensors") == sha256(published / "model.safetensors")
    assert len([path for path in hub.downloads() if path.endswith("safetensors")]) > 3


def test_a_download_that_fails_is_reported_and_not_cached(hub, published):
    hub.cut = 0
    with pytest.raises(InputError, match="download|cut"):
        download(NAME)
    assert cached_path(NAME) is None
    hub.cut = None
    assert sha256(download(NAME).path / "model.safetensors") == sha256(published / "model.safetensors")


def test_a_full_disk_is_reported_and_nothing_is_cached(hub, published, monkeypatch):
    from huggingface_hub import file_download

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file_download, "http_get", full)
        with pytest.raises(InputError, match=r"the disk with .* is full; free some space, or set LUCID_HOME"):
            download(NAME)
    assert cached_path(NAME) is None
    assert download(NAME).path.is_dir()


def test_a_registered_file_is_checked_against_its_digest(hub):
    good = entry(hub, b"weights")
    assert download(good).path.read_bytes() == b"weights"
    assert download(good).name == "hf://lucid/files/weights/a.safetensors"
    with pytest.raises(InputError, match=r"has the sha256 [0-9a-f]{64}, expected 0000.*: its publisher replaced it"):
        download(entry(hub, b"weights", "0" * 64))
    assert cached_path(good) is None
    assert download(good).path.read_bytes() == b"weights"


@pytest.mark.parametrize("damage", [b"WEIGHTS", b"wei", b""])
def test_damaged_cached_files_are_downloaded_again(damage, hub, published):
    good = entry(hub, b"weights")
    for name, file in ((good, None), (NAME, "model.safetensors")):
        path = download(name).path
        path = path / file if file else path
        whole = path.read_bytes()
        blob_path(path).write_bytes(damage)
        assert path.read_bytes() == damage
        download(name)
        assert path.read_bytes() == whole


def test_damaged_cached_files_are_reported_offline(hub, monkeypatch):
    good = entry(hub, b"weights")
    blob_path(download(good).path).write_bytes(b"WEIGHTS")
    monkeypatch.setenv("LUCID_WEIGHTS_OFFLINE", "1")
    with pytest.raises(InputError, match="the cached copy of .* was damaged and is removed; go online"):
        download(good)
    monkeypatch.delenv("LUCID_WEIGHTS_OFFLINE")
    assert download(good).path.read_bytes() == b"weights"


def test_four_concurrent_downloads_get_the_same_complete_file(hub, published):
    with ThreadPoolExecutor(4) as pool:
        paths = {downloaded.path for downloaded in pool.map(download, [NAME] * 4)}
    assert len(paths) == 1
    assert sha256(paths.pop() / "model.safetensors") == sha256(published / "model.safetensors")


def test_two_processes_can_pull_concurrently(hub, published, tmp_path):
    command = [sys.executable, "-m", "lucid_mlx", "weights", "pull", NAME]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0], [process.communicate() for process in both]
    for process in both:
        process.communicate()
    assert sha256(cached_path(NAME) / "model.safetensors") == sha256(published / "model.safetensors")


def test_a_file_from_the_web_is_cached(hub, published, tmp_path):
    hub.files["web"] = {"model.safetensors": hub.files[NAME]["model.safetensors"]}
    url = f"{hub.url}/web/model.safetensors"
    path = download(url).path
    assert path.is_relative_to(tmp_path / "lucid")
    hub.requests.clear()
    assert download(url).path == path
    assert hub.requests == []
    assert lucid_mlx.load(url).config.num_labels == 3


def test_a_file_from_the_web_is_checked_against_the_digest_in_its_name(hub):
    data = b"PK\3\4weights"
    name = f"r50-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    hub.files["web"] = {name: data, "r50-00000000.pth": data}
    assert download(f"{hub.url}/web/{name}").path.read_bytes() == data
    with pytest.raises(InputError, match="has the sha256 .*, expected 00000000…"):
        download(f"{hub.url}/web/r50-00000000.pth")
    assert cached_path(f"{hub.url}/web/r50-00000000.pth") is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda hub: setattr(hub, "status", 404), r"HTTP 404\): there is no such file"),
        (lambda hub: setattr(hub, "status", 503), r"HTTP 503\): the server has a problem"),
        (lambda hub: setattr(hub, "cut", 3), "cannot be reached, or the download was interrupted"),
    ],
)
def test_a_web_download_that_fails_is_reported_and_leaves_nothing_behind(spoil, message, hub, tmp_path):
    hub.files["web"] = {"model.pth": b"PK\3\4weights"}
    spoil(hub)
    with pytest.raises(InputError, match=message):
        download(f"{hub.url}/web/model.pth")
    assert not [file for file in (tmp_path / "lucid").rglob("*") if file.is_file()]
    with pytest.raises(InputError, match="cannot be reached"):
        download("http://127.0.0.1:9/model.pth")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.pth", b"\n<!DOCTYPE html><html>log in</html>", "answered with a web page, not with weights"),
        ("a.pkl", b'{"error": "quota"}', "answered with JSON, not with weights"),
        ("a.safetensors", b"PK\3\4...........", "does not begin as weights do; expected a safetensors file"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1", "expected safetensors, or torch's zip or pickle"),
        ("a.bin", b"", "does not begin as weights do"),
    ],
)
def test_what_is_no_weights_does_not_enter_the_cache(name, data, message, hub, tmp_path):
    hub.files["web"] = {name: data}
    with pytest.raises(InputError, match=message):
        download(f"{hub.url}/web/{name}")
    assert not [file for file in (tmp_path / "lucid").rglob("*") if file.is_file()]


@pytest.mark.parametrize("data", [b"PK\3\4...", b"\x80\2}q\0.", b"\x80\4\x95...", b"\2\0\0\0\0\0\0\0{}"])
def test_every_format_of_weights_enters_the_cache(data, hub):
    hub.files["web"] = {"a.bin": data, "download": data}
    for name in hub.files["web"]:
        assert download(f"{hub.url}/web/{name}").path.read_bytes() == data


def test_concurrent_downloads_from_the_web_get_the_same_complete_file(hub, tmp_path):
    data = b"PK\3\4" + bytes(range(256)) * 4000
    hub.files["web"] = {"a.pth": data}
    barrier = threading.Barrier(4, timeout=30)
    hub.before = barrier.wait
    with ThreadPoolExecutor(4) as pool:
        paths = {downloaded.path for downloaded in pool.map(download, [f"{hub.url}/web/a.pth"] * 4)}
    assert [path.read_bytes() for path in paths] == [data]
    assert [path.name for path in (tmp_path / "lucid/weights/web").iterdir()] == [paths.pop().name]


def test_all_files_of_a_repository_are_of_one_commit(hub, published):
    hub.requests.clear()
    download(NAME)
    assert [path for path in hub.downloads() if "/main/" in path] == [f"/{NAME}/resolve/main/model.safetensors"]


def test_the_configuration_beside_a_registered_file_is_not_read(hub, published, tmp_path):
    data = hub.files[NAME]["model.safetensors"]
    hub.files["lucid/files"] = {"weights/a.safetensors": data, "weights/config.json": b"{}", "config.json": b"{}"}
    digest = hashlib.sha256(data).hexdigest()
    lucid_mlx.load(WeightEntry("hf://lucid/files@main/weights/a.safetensors", digest, "A"))
    assert {path.rsplit("/", 1)[1] for path in hub.downloads()} == {"a.safetensors"}


def test_removed_files_are_deleted_from_disk(hub, published, tmp_path):
    good = entry(hub, b"weights")
    download(good)
    download(NAME)
    assert remove_cached(good) == len(b"weights")
    assert remove_cached(NAME) > 100_000
    assert cached_path(good) is None
    assert cached_path(NAME) is None
    assert list((tmp_path / "lucid").rglob("blobs/*")) == []
    with pytest.raises(InputError, match="is not in the cache"):
        remove_cached(NAME)
    with pytest.raises(InputError, match="not in the cache, but a file of your own"):
        remove_cached(published)
