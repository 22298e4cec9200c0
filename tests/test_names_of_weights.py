"""What a name of weights means, also if it is misspelt or something on disk has it; what is said without a network."""

import traceback
import warnings
from pathlib import Path

import pytest
from helpers import PHOTO, run_cli, small_model

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.preprocessing import read_image
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint
from lucid_mlx.weights.address import DEMO_FOLDER, parse_address
from lucid_mlx.weights.download import download

NAME = "facebook/mask2former-swin-tiny-coco-panoptic"
TAG = "mask2former_swin_tiny:COCO_PANOPTIC"
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model():
    """Write a model to a folder."""
    network = small_model()
    return lambda path: write_checkpoint(path, network.config.to_dict(), named_parameters(network), {}, {})


@pytest.mark.parametrize("name", ["demo", TAG])
@pytest.mark.parametrize("kind", ["an empty folder", "a folder of pictures", "a file"])
def test_something_else_on_disk_does_not_hide_a_listed_checkpoint(name, kind, folder):
    path = folder / name
    if kind == "a file":
        path.write_text("notes")
    else:
        path.mkdir()
    if kind == "a folder of pictures":
        (path / "photo.jpg").write_bytes(PHOTO.read_bytes())
    with pytest.warns(UserWarning, match=rf"{name} is the listed checkpoint here, not .*; \./{name} means the f"):
        found = parse_address(name)
    assert found == DEMO_FOLDER if name == "demo" else not isinstance(found, Path)
    assert parse_address(f"./{name}") == Path(name)
    assert parse_address(path) == path


def test_a_folder_with_a_model_is_taken_for_a_listed_name(folder, model):
    model(folder / "demo")
    with pytest.warns(UserWarning, match="demo is the folder here, not the listed checkpoint of that name; rename"):
        assert lucid_mlx.load("demo").config.num_queries == 6
    assert lucid_mlx.load("./demo").config.num_queries == 6


def test_the_command_line_says_which_one_it_takes(folder):
    (folder / "demo").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        told = run_cli("segment", PHOTO, "--weights", "demo", "-o", "x.png", "--size", "64").stderr
        assert told.count("warning: demo is the listed checkpoint here, not the folder of that name") == 1
        converted = run_cli("convert", "demo", "-o", "y", "--to", "huggingface")
        assert converted.stderr.count("demo is the listed checkpoint here") == 1
    assert (folder / "y/config.json").is_file()


def test_a_name_that_nothing_on_disk_has_needs_no_word():
    assert parse_address("demo") == DEMO_FOLDER


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("dmeo", "demo"),
        ("Demo", "demo"),
        ("mask2former_swin_tiny", "mask2former_swin_tiny:COCO_PANOPTIC"),
        ("mask2former-swin-tiny-coco-panoptic", NAME),
    ],
)
def test_a_misspelt_name_is_answered_by_the_nearest(wrong, right):
    with pytest.raises(InputError, match=rf"^{wrong} does not exist \(did you mean .*{right}"):
        parse_address(wrong)


def test_a_misspelt_name_on_the_hub_is_answered_by_the_nearest(hub):
    with pytest.raises(InputError, match=f"nor a public model on the hub .did you mean {NAME} or "):
        download("facebok/mask2former-swin-tiny-coco-panoptic")


@pytest.fixture
def no_network(hub, monkeypatch):
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    template = f"{NOWHERE}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", NOWHERE)

    def waits(seconds):
        raise AssertionError("it tries again")

    monkeypatch.setattr(_http.time, "sleep", waits)


@pytest.mark.parametrize("name", [NAME, TAG, lucid_mlx.weights.Mask2Former_Swin_Tiny_Weights.ADE20K_SEMANTIC])
def test_without_a_network_there_is_one_sentence_after_one_try(name, no_network, caplog):
    with pytest.raises(InputError) as caught:
        lucid_mlx.load(name)
    shown = name if isinstance(name, str) else "hf://ChanLumerico/lucid/"
    message = str(caught.value)
    assert message.startswith(shown)
    for part in ("the hub cannot be reached (Connection refused)", "--weights demo", "weights pull", "HF_HOME"):
        assert part in message
    assert "direct cause" not in "".join(traceback.format_exception(caught.value))
    assert not caplog.records


def test_the_switch_that_forbids_downloads_is_named(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "(HF_HUB_OFFLINE is set)" in run_cli("weights", "pull", NAME, code=2).stderr
    monkeypatch.setenv("LUCID_WEIGHTS_OFFLINE", "1")
    assert "(LUCID_WEIGHTS_OFFLINE is set)" in run_cli("weights", "pull", NAME, code=2).stderr
    assert hub.requests == []


@pytest.mark.parametrize("read", [download, read_image])
def test_an_address_that_cannot_be_reached_is_one_short_sentence(read, hub, monkeypatch):
    with pytest.raises(
        InputError, match="cannot be reached, or the download was interrupted: Connection refused$"
    ) as e:
        read(f"{NOWHERE}/a.pth")
    assert "direct cause" not in "".join(traceback.format_exception(e.value))
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@{NOWHERE[7:]}")
    with pytest.raises(InputError, match="; the way there is the proxy of HTTP_PROXY$") as e:
        read("http://example.org/a.pth")
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("verb", ["eval", "video", "convert", "segment", "train"])
def test_a_verb_without_its_arguments_shows_an_example(verb):
    assert f"For example: lucid-mlx {verb} " in run_cli(verb, code=2).stderr


@pytest.mark.parametrize("arguments", [[], ["weights"]])
def test_a_command_without_a_verb_shows_its_help_line_by_line(arguments):
    help_text = run_cli(*arguments, code=2).stderr
    assert "\\n" not in help_text
    assert len(help_text.splitlines()) > 10
