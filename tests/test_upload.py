"""Publishing on the hub: what is uploaded, under which license, and what refuses."""

import importlib.util
import json

import mlx.core as mx
import pytest
import yaml
from helpers import PHOTO, run_cli, small_config, small_model, write_huggingface

import lucid_mlx
from lucid_mlx import ImageConfig, InputError
from lucid_mlx.convert.publish import checked_license, publish
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.label_maps import LabelMapRecord
from lucid_mlx.training.folder import RunFolder
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import read_checkpoint, write_checkpoint
from lucid_mlx.weights.upload import upload

REPOSITORY = "someone/mine"
FACEBOOK = "facebook/mask2former-swin-tiny-coco-panoptic"
FILES = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}


@pytest.fixture
def account(hub, monkeypatch):
    """A hub with an account, and its token where huggingface_hub looks for one."""
    hub.tokens = {"hf_right": "someone"}
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    return hub


@pytest.fixture
def converted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_huggingface(tmp_path / "theirs")
    (source / "README.md").write_text("---\nlicense: mit\n---\n")
    run_cli("convert", source, "ours")
    return tmp_path / "ours"


def card_of(hub, repository=REPOSITORY):
    """The metadata and the text of an uploaded card."""
    _, head, text = hub.files[repository]["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(head), text


def folder_of(path, model=None, **metadata):
    model = model or small_model()
    return write_checkpoint(path, model.config.to_dict(), named_parameters(model), metadata, {})


def test_convert_publishes_what_it_wrote(account, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_huggingface(tmp_path / "theirs")
    (source / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    told = run_cli("convert", source, "ours", "--upload-repo", REPOSITORY).stdout
    assert f"published: {account.url}/{REPOSITORY}" in told
    assert set(account.files[REPOSITORY]) == FILES
    for name in FILES - {"README.md"}:
        assert account.files[REPOSITORY][name] == (tmp_path / "ours" / name).read_bytes()
    head, text = card_of(account)
    assert head["library_name"] == "mlx"
    assert head["pipeline_tag"] == "image-segmentation"
    assert head["license"] == "apache-2.0"
    assert {"mlx", "mask2former"} <= set(head["tags"])
    assert "path/to/this/folder" not in text
    assert "path/to/this/folder" in (tmp_path / "ours" / "README.md").read_text()
    assert account.private == set()
    assert [repository for repository, _ in account.commits] == [REPOSITORY]


def test_the_snippets_of_a_published_card_run(account, converted, monkeypatch):
    run_cli("convert", "ours", "--upload-repo", REPOSITORY)
    _, text = card_of(account)
    (code,) = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    assert f'Segmenter("{REPOSITORY}")' in code
    (converted.parent / "photo.jpg").write_bytes(PHOTO.read_bytes())
    exec(code, {})  # in the folder of the test, from the fake hub
    assert (converted.parent / "segmented.png").is_file()
    assert f"--weights {REPOSITORY}" in text


def test_what_was_published_loads_and_says_the_same(account, converted):
    run_cli("convert", "ours", "--upload-repo", REPOSITORY, "--private")
    assert account.private == {REPOSITORY}
    model, other = lucid_mlx.load(converted), lucid_mlx.load(REPOSITORY)
    x = mx.random.normal((1, 3, 64, 64))
    assert mx.array_equal(model(x)["class_queries_logits"], other(x)["class_queries_logits"])


def test_a_repository_that_is_there_gets_another_commit_and_keeps_its_other_files(account, converted):
    account.files[REPOSITORY] = {"notes.txt": b"mine", "README.md": b"old"}
    run_cli("convert", "ours", "--upload-repo", REPOSITORY)
    assert account.files[REPOSITORY]["notes.txt"] == b"mine"
    assert account.files[REPOSITORY]["README.md"] != b"old"


def test_what_is_no_part_of_a_model_stays_here_and_is_named(account, tmp_path):
    folder = folder_of(tmp_path / "run", license="mit")
    (folder / "training").mkdir()
    (folder / ".DS_Store").write_bytes(b"x")
    with pytest.warns(UserWarning, match=r"not uploaded.*training"):
        publish(folder, REPOSITORY)
    assert set(account.files[REPOSITORY]) == FILES


def test_a_users_own_card_is_kept(account, converted):
    (converted / "README.md").write_text("---\nlicense: mit\ntags: [garden]\n---\n# My gardens\n")
    run_cli("convert", "ours", "--upload-repo", REPOSITORY)
    head, text = card_of(account)
    assert "# My gardens" in text
    assert head["tags"] == ["garden", "mlx", "mask2former"]
    assert head["library_name"] == "mlx"


def test_the_card_of_a_published_model_has_its_figures_and_its_source(account, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.add(FACEBOOK, write_huggingface(tmp_path / "theirs"))
    run_cli("convert", FACEBOOK, "ours", "--upload-repo", REPOSITORY)
    head, text = card_of(account)
    assert head["base_model"] == FACEBOOK
    assert head["license"] == "cc-by-nc-4.0"
    assert "coco_panoptic" in head["tags"]
    assert "Published accuracy: PQ 53.2" in text
    assert "for non\\-commercial use" in text


@pytest.mark.parametrize("license", ["mit", "apache-2.0", "cc-by-nc-sa-4.0"])
def test_weights_for_non_commercial_use_get_no_other_license(license, account, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.add(FACEBOOK, write_huggingface(tmp_path / "theirs"))
    told = run_cli("convert", FACEBOOK, "--upload-repo", REPOSITORY, "--license", license, code=2).stderr
    assert f"are cc-by-nc-4.0, for non-commercial use: what is made of them cannot be published as {license}" in told
    assert REPOSITORY not in account.files
    assert not (tmp_path / "mask2former-swin-tiny-coco-panoptic-mlx").exists()


@pytest.mark.parametrize(
    "metadata",
    [
        {"source": FACEBOOK},
        {"source": FACEBOOK, "license": "mit"},
        {"source": "x", "license": "cc-by-nc-4.0"},
        {"source": "model_final_94dc52.pkl", "license": "apache-2.0"},
        {"source": "hf://lucid-dl/mask2former-swin-tiny-ade/ADE20K/model.safetensors"},
    ],
    ids=str,
)
def test_a_card_that_says_otherwise_is_refused(metadata, account, tmp_path):
    folder = folder_of(tmp_path / "ours", **metadata)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Free\n")
    with pytest.raises(InputError, match=r"are cc-by-nc-4\.0, for non-commercial use"):
        publish(folder, REPOSITORY)
    assert account.files == {}


def test_what_is_trained_from_a_folder_keeps_its_license(account, tmp_path):
    first = folder_of(tmp_path / "first", source="x", license="cc-by-nc-4.0")
    second = folder_of(tmp_path / "second", source=str(first), family="lucid_mlx.training")
    assert checked_license(read_checkpoint(second).metadata, None) == "cc-by-nc-4.0"
    with pytest.raises(InputError, match="non-commercial"):
        checked_license(read_checkpoint(second).metadata, "mit")


@pytest.mark.parametrize("source", ["x" * 5000, "a\0b", "~nobody", "", ".", "/"])
def test_a_source_of_any_name_is_looked_at(source):
    assert checked_license({"source": source}, None) is None


def test_folders_that_name_each_other_end(tmp_path):
    folder_of(tmp_path / "a", source=str(tmp_path / "b"))
    folder_of(tmp_path / "b", source=str(tmp_path / "a"), license="mit")
    assert checked_license({"source": str(tmp_path / "a")}, None) == "mit"


def test_a_training_records_the_license_of_what_it_starts_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = folder_of(tmp_path / "first", source="x", license="cc-by-nc-4.0")
    dataset = Dataset("semantic", ("a",), frozenset(), [LabelMapRecord(tmp_path, tmp_path, 5, 255, False)])
    for number, (source, license) in enumerate(
        [(str(first), "cc-by-nc-4.0"), (FACEBOOK, "cc-by-nc-4.0"), (None, None)]
    ):
        run = RunFolder(tmp_path / str(number), small_config(num_labels=1), ImageConfig(), dataset, "mine", source)
        run.create({"x": mx.zeros(1)})
        assert read_checkpoint(run.path).metadata.get("license") == license


@pytest.mark.filterwarnings("default")
def test_an_unknown_license_is_told_and_may_be_given(account, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write_huggingface(tmp_path / "theirs")
    told = run_cli("convert", source, "a", "--upload-repo", REPOSITORY).stderr
    assert "the license of the weights is not known, and the model card says none" in told
    assert "license" not in card_of(account)[0]
    told = run_cli("convert", source, "b", "--upload-repo", REPOSITORY, "--license", "apache-2.0").stderr
    assert "not known" not in told
    assert card_of(account)[0]["license"] == "apache-2.0"
    assert read_checkpoint(tmp_path / "b").metadata["license"] == "apache-2.0"
    assert "written as on the hub" in run_cli("convert", source, "c", "--license", "My License", code=2).stderr


@pytest.mark.parametrize("name", ["x", "a/b/c", "../x", "a/..", "http://a/b", "a b/c", ""])
def test_a_wrong_name_is_refused_before_anything_is_done(name, account, converted):
    account.requests.clear()
    assert "is named owner/name" in run_cli("convert", "theirs", "new", "--upload-repo", name, code=2).stderr
    assert account.requests == []
    assert not (converted.parent / "new").exists()


def test_without_a_token_it_says_how_to_log_in_before_anything_is_done(account, converted, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    told = run_cli("convert", "theirs", "new", "--upload-repo", REPOSITORY, code=2).stderr
    assert "hf auth login" in told
    assert not (converted.parent / "new").exists()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "hf auth login" in run_cli("convert", "theirs", "new", "--upload-repo", REPOSITORY, code=2).stderr


def test_a_token_that_may_not_write_there_is_told_so(account, converted):
    told = run_cli("convert", "theirs", "new", "--upload-repo", "others/x", code=2).stderr
    assert "your token may not write to others/x" in told
    new = converted.parent / "new"
    assert f"the folder {new} is whole: lucid-mlx convert {new} --upload-repo others/x tries again" in told
    assert (converted.parent / "new" / "model.safetensors").is_file()
    assert "others/x" not in account.files


def test_a_hub_with_a_problem_leaves_no_commit(account, converted):
    account.status = 503
    told = run_cli("convert", "ours", "--upload-repo", REPOSITORY, code=2).stderr
    assert "(HTTP 503): the hub has a problem" in told
    assert account.commits == []


def test_a_hub_that_cannot_be_reached_is_one_sentence(account, converted, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", _unreachable)
    with pytest.raises(InputError, match="the upload of someone/mine failed: Connection refused; try again"):
        publish(converted, REPOSITORY)


def test_a_hub_that_fails_while_a_file_is_sent_leaves_no_commit(account, converted):
    account.refuse_files = 500
    with pytest.raises(InputError, match=r"someone/mine cannot be uploaded \(HTTP 500\)"):
        publish(converted, REPOSITORY)
    assert account.commits == []


def _unreachable(*args, **kwargs):
    name = "httpx2" if importlib.util.find_spec("httpx2") else "httpx"  # which the hub's library has from 2.4 on
    httpx = importlib.import_module(name)
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError as error:
        raise httpx.ConnectError("All connection attempts failed") from error


def test_offline_nothing_is_tried(account, converted, monkeypatch):
    monkeypatch.setenv("LUCID_WEIGHTS_OFFLINE", "1")
    assert "LUCID_WEIGHTS_OFFLINE is set" in run_cli("convert", "ours", "--upload-repo", REPOSITORY, code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [("--private",), ("--upload-repo", "a/b", "--dry-run"), ("--upload-repo", "a/b", "--to", "huggingface")],
)
def test_options_that_do_not_go_together(arguments, account, converted):
    assert "--upload-repo" in run_cli("convert", "ours", "x", *arguments, code=2).stderr


def test_a_folder_that_is_no_model_is_refused(account, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        publish(tmp_path / "none", REPOSITORY)
    with pytest.raises(InputError, match="not in MLX's layout"):
        publish(write_huggingface(tmp_path / "theirs"), REPOSITORY)


def test_upload_takes_contents_and_files(account, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"large")
    url = upload(REPOSITORY, {"a.bin": tmp_path / "a.bin", "b.txt": b"small"}, message="first")
    assert url == f"{account.url}/{REPOSITORY}"
    assert account.files[REPOSITORY] == {"a.bin": b"large", "b.txt": b"small"}
    assert account.commits == [(REPOSITORY, "first")]


class TestModels:
    def test_a_model_is_saved_and_loaded(self, tmp_path):
        model = small_model(1)
        model.config.id2label = dict(enumerate("abcde"))
        folder = model.save_pretrained(tmp_path / "saved", image_config=ImageConfig(size=(64, 96)), license="mit")
        again = lucid_mlx.load(folder)
        x = mx.random.normal((1, 3, 64, 64))
        assert mx.array_equal(again(x)["masks_queries_logits"], model(x)["masks_queries_logits"])
        assert again.config == model.config
        assert again.config.id2label == model.config.id2label
        assert lucid_mlx.Segmenter(folder).image_config.size == (64, 96)
        assert again.provenance.metadata["license"] == "mit"

    def test_what_was_loaded_is_saved_with_its_source_and_image_config(self, converted, tmp_path):
        model = lucid_mlx.load(converted)
        model.save_pretrained(tmp_path / "again")
        before, after = read_checkpoint(converted), read_checkpoint(tmp_path / "again")
        assert after.metadata == before.metadata
        assert after.preprocessor == before.preprocessor
        assert after.config == before.config
        assert all(mx.array_equal(before.arrays[name], after.arrays[name]).item() for name in before.arrays)

    def test_its_task_and_the_classes_of_things_may_be_given(self, tmp_path):
        folder = small_model().save_pretrained(tmp_path / "a", task="panoptic", thing_ids={3, 1})
        segmenter = lucid_mlx.Segmenter(folder)
        assert (segmenter.task, segmenter.thing_ids) == ("panoptic", {1, 3})
        for wrong in ({"task": "x"}, {"thing_ids": [5]}, {"license": 3}, {"image_config": {}}):
            with pytest.raises(InputError, match=next(iter(wrong))):
                small_model().save_pretrained(tmp_path / "b", **wrong)

    def test_a_folder_is_not_replaced_without_force(self, tmp_path):
        small_model(1).save_pretrained(tmp_path / "a")
        with pytest.raises(InputError, match="exists already"):
            small_model(2).save_pretrained(tmp_path / "a")
        small_model(2).save_pretrained(tmp_path / "a", force=True)
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "mine").write_text("x")
        with pytest.raises(InputError):
            small_model(2).save_pretrained(tmp_path / "b", force=True)

    def test_a_quantized_model_is_saved_as_it_is(self, converted, tmp_path, monkeypatch):
        from lucid_mlx import backends

        run_cli("convert", "ours", "small", "--quantize", "8", "--group-size", "32")
        monkeypatch.setattr(backends, "packed_weights_are_fast", lambda: True)
        model = lucid_mlx.load("small")
        model.save_pretrained(tmp_path / "again")
        assert json.loads((tmp_path / "again" / "config.json").read_text())["quantization"]["bits"] == 8
        x = mx.random.normal((1, 3, 64, 64))
        again = lucid_mlx.load(tmp_path / "again")
        assert mx.array_equal(again(x)["class_queries_logits"], model(x)["class_queries_logits"])
        monkeypatch.setattr(backends, "packed_weights_are_fast", lambda: False)
        lucid_mlx.load("small").save_pretrained(tmp_path / "unpacked")
        assert "quantization" not in json.loads((tmp_path / "unpacked" / "config.json").read_text())
        lucid_mlx.load(tmp_path / "unpacked")

    def test_a_model_is_published(self, account):
        model = small_model()
        assert model.push_to_hub(REPOSITORY, private=True, license="mit") == f"{account.url}/{REPOSITORY}"
        assert set(account.files[REPOSITORY]) == FILES
        assert account.private == {REPOSITORY}
        assert card_of(account)[0]["license"] == "mit"
        x = mx.random.normal((1, 3, 64, 64))
        again = lucid_mlx.load(REPOSITORY)
        assert mx.array_equal(again(x)["class_queries_logits"], model(x)["class_queries_logits"])

    def test_a_model_of_non_commercial_weights_keeps_their_license(self, account, hub, tmp_path):
        hub.add(FACEBOOK, write_huggingface(tmp_path / "theirs"))
        model = lucid_mlx.load(FACEBOOK)
        filled = lucid_mlx.models.Mask2Former(model.config).from_pretrained(FACEBOOK)
        for each in (model, filled):
            with pytest.raises(InputError, match="non-commercial"):
                each.push_to_hub(REPOSITORY, license="mit")
            with pytest.raises(InputError, match="non-commercial"):
                each.save_pretrained(tmp_path / "saved", license="mit")
        model.push_to_hub(REPOSITORY, commit_message="as it is")
        head, _ = card_of(account)
        assert (head["license"], head["base_model"]) == ("cc-by-nc-4.0", FACEBOOK)
        assert account.commits == [(REPOSITORY, "as it is")]
