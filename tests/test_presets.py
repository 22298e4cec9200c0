"""The presets of the training file: what they set, what goes before them, and that they are the original's recipes."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from helpers import run_cli

from lucid_mlx import InputError, Thresholds
from lucid_mlx.convert.detectron2_yaml import (
    _FIELDS,
    _REQUIRED,
    _REQUIRED_OF_RESNET,
    _REQUIRED_OF_SWIN,
    _SWIN_SETTINGS,
    read_detectron2_yaml,
)
from lucid_mlx.models import Mask2FormerConfig
from lucid_mlx.models.vision.backbones.resnet import ResNetConfig
from lucid_mlx.models.vision.backbones.swin import SwinConfig
from lucid_mlx.preprocessing import ImageConfig, parse_size
from lucid_mlx.training import LargeScaleJitter, ResizeAndCrop, read_config
from lucid_mlx.training.presets import PRESETS

# The original's files: the fields that each one sets, the file under it, and the commit where it was read. Those that
# are not of the original's repository were read in copies of it.
ORIGINAL = json.loads((Path(__file__).parent / "data" / "mask2former_recipes.json").read_text())
GUIDE = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
DATA = '[train]\nimages = "a"\nannotations = "b"\n[validation]\nimages = "c"\nannotations = "d"\n'
CONFIGS = {"swin": SwinConfig, "resnet": ResNetConfig}
SCHEDULES = {"WarmupMultiStepLR": "step", "WarmupPolyLR": "poly"}
BACKBONES = {
    "R50": "resnet-50",
    "R101": "resnet-101",
    "swin_tiny": "swin-tiny",
    "swin_small": "swin-small",
    "swin_base_384": "swin-base",
    "swin_base_IN21k_384": "swin-base-in21k",
    "swin_large_IN21k_384": "swin-large",
}
# What the original started from, and our names of it.
WEIGHTS = {
    "detectron2://ImageNetPretrained/torchvision/R-50.pkl": "detectron2/ImageNetPretrained/torchvision/R-50.pkl",
    "R-101.pkl": "resnet101-63fe2227.pth",
}
# What this package always does, or does by default.
ALWAYS = {
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": 1.0,
    "MODEL.MASK_FORMER.ENC_LAYERS": 0,
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.WARMUP_FACTOR": 1.0,  # so that it has no warm-up, whatever WARMUP_ITERS is
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
    "SOLVER.POLY_LR_CONSTANT_ENDING": 0.0,
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": 2.0,
    "INPUT.FORMAT": "RGB",
    "INPUT.RANDOM_FLIP": "horizontal",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.CROP.TYPE": "absolute",
    "TEST.DETECTIONS_PER_IMAGE": Thresholds().top_k,
    "TEST.AUG.ENABLED": False,
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": Thresholds().overlap_mask_area_threshold,
}
# What the network is built of, by `read_detectron2_yaml`.
NETWORK = {
    *_FIELDS.values(),
    *_REQUIRED,
    *_REQUIRED_OF_RESNET,
    *_REQUIRED_OF_SWIN,
    *(f"MODEL.SWIN.{name}" for name in _SWIN_SETTINGS),
    *(f"MODEL.RESNETS.{name}" for name in ("DEPTH", "NORM", "STEM_OUT_CHANNELS", "STRIDE_IN_1X1")),
    "MODEL.META_ARCHITECTURE",
    "MODEL.BACKBONE.NAME",
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    "MODEL.WEIGHTS",
    "DATASETS.TRAIN",
} - {"INPUT.FORMAT"}
# The differences, and what is no part of the recipe: which tasks are evaluated, and what the machine does.
NAMED = {
    "SOLVER.AMP.ENABLED",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.CHECKPOINT_PERIOD",
    "DATALOADER.NUM_WORKERS",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE",
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY",
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON",
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON",
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON",
    "MODEL.RESNETS.STEM_TYPE",  # "not used", say its files of this and of the next
    "MODEL.RESNETS.RES5_MULTI_GRID",
    "MODEL.SWIN.PRETRAIN_IMG_SIZE",  # is for absolute positions, which no recipe has
    "INPUT.DATASET_MAPPER_NAME",
    "INPUT.SIZE_DIVISIBILITY",  # pads samples to the crop; without it Cityscapes' images are larger than the crop
    "TEST.AUG.MIN_SIZES",
    "TEST.AUG.MAX_SIZE",
    "TEST.AUG.FLIP",
}


def preset_of(path):
    """Name the preset of a file, such as "ade20k-semantic/swin-base"; None for a file that is only under others."""
    dataset, task, name = re.match(r"([\w-]+)/(\w+)-segmentation/(?:swin/)?([\w-]+)\.yaml", path).groups()
    if name.startswith("Base"):
        return None
    backbone = re.match(r"maskformer2?_(\w+?)_bs16", name)[1]
    return f"{dataset.removesuffix('-vistas')}-{task}/{BACKBONES[backbone]}"


def fields_of(path):
    """Return what a file sets with those under it, over the defaults."""
    file = ORIGINAL["files"][path]
    under = (
        fields_of(file["base"])
        if "base" in file
        else {name: value for defaults in ORIGINAL["defaults"].values() for name, value in defaults.items()}
    )
    return {**under, **file["fields"]}


FILES = {preset_of(path): path for path in ORIGINAL["files"] if preset_of(path)}
OF_THE_TABLE = {preset_of(path): row for path, row in ORIGINAL["zoo"]["rows"].items()}  # whose files were not found


@pytest.fixture
def read(tmp_path):
    """Read a training file of a text."""

    def of_text(text, data=DATA):
        path = tmp_path / "my.toml"
        path.write_text(f"{text}\n{data}")
        return read_config(path)

    return of_text


def test_every_recipe_of_the_original_is_a_preset():
    assert sorted(name for name in PRESETS if "/" in name) == sorted([*FILES, *OF_THE_TABLE])
    assert {name.split("/")[0] for name in FILES} | {"few-photos"} == {name for name in PRESETS if "/" not in name}


@pytest.mark.parametrize("name", FILES)
def test_the_run_is_the_original_s(name, read):
    original, run = fields_of(FILES[name]), read(f'preset = "{name}"')
    optimizer, augmentation = run.optimizer, run.augmentation
    image_config = parse_size(run.network.size, ImageConfig())
    ours = {
        "SOLVER.MAX_ITER": run.steps,
        "SOLVER.IMS_PER_BATCH": run.batch_size * run.gradient_accumulation_steps,
        "SOLVER.BASE_LR": optimizer.learning_rate,
        "SOLVER.BACKBONE_MULTIPLIER": optimizer.backbone_multiplier,
        "SOLVER.WEIGHT_DECAY": optimizer.weight_decay,
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": optimizer.max_grad_norm,
        "SOLVER.GAMMA": optimizer.gamma,
        "SOLVER.POLY_LR_POWER": optimizer.power,
        "INPUT.COLOR_AUG_SSD": augmentation.color_jitter,
        "INPUT.MIN_SIZE_TEST": image_config.shortest_edge,
        "INPUT.MAX_SIZE_TEST": image_config.longest_edge,
        "TEST.EVAL_PERIOD": run.reports.evaluate,
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": run.filter_empty,
        "MODEL.PIXEL_MEAN": pytest.approx([255 * value for value in image_config.mean]),
        "MODEL.PIXEL_STD": pytest.approx([255 * value for value in image_config.std]),
        **ALWAYS,
    }
    threshold = original.pop("MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD")
    assert threshold == (0 if name.startswith("mapillary") else Thresholds().score_threshold("panoptic"))
    assert SCHEDULES[original.pop("SOLVER.LR_SCHEDULER_NAME")] == optimizer.schedule
    assert (optimizer.warmup_steps, optimizer.ema_decay) == (0, 0)
    if optimizer.schedule == "step":
        ours["SOLVER.STEPS"] = [round(run.steps * milestone) for milestone in optimizer.milestones]
    if isinstance(augmentation, ResizeAndCrop):
        ours["INPUT.CROP.ENABLED"] = True
        ours["INPUT.MIN_SIZE_TRAIN"] = list(augmentation.shortest_edge)
        ours["INPUT.MAX_SIZE_TRAIN"] = augmentation.longest_edge
        ours["INPUT.CROP.SIZE"] = list(augmentation.crop_size)
        ours["INPUT.CROP.SINGLE_CATEGORY_MAX_AREA"] = augmentation.single_category_max_area
    else:
        assert augmentation.flip
        ours["INPUT.IMAGE_SIZE"] = augmentation.size
        ours["INPUT.MIN_SCALE"], ours["INPUT.MAX_SCALE"] = augmentation.min_scale, augmentation.max_scale
    original = {field: value for field, value in original.items() if field not in NAMED | NETWORK}
    assert original == {field: value for field, value in ours.items() if field in original or field not in ALWAYS}


@pytest.mark.parametrize("name", FILES)
def test_the_network_is_the_original_s(name, read, tmp_path):
    tree = {}
    for field, value in fields_of(FILES[name]).items():
        *sections, key = field.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        section[key] = value
    (tmp_path / "original.yaml").write_text(yaml.safe_dump(tree))
    original = read_detectron2_yaml(tmp_path / "original.yaml")
    network = read(f'preset = "{name}"').network
    config = Mask2FormerConfig.from_dict({**network.fields, "num_labels": original.fields["num_labels"]})
    assert {field: getattr(config, field) for field in original.fields} == original.fields
    shape, theirs = dict(network.fields["backbone_config"]), original.backbone_config
    kind = CONFIGS[shape.pop("model_type")]
    assert kind is CONFIGS[theirs.pop("model_type")]
    inferred = {"layer_type": None} if kind is ResNetConfig else {}  # a bottleneck, for these widths
    assert json.dumps(asdict(kind(**shape))) == json.dumps(asdict(kind(**theirs)) | inferred)
    dataset = name.split("/")[0].replace("-", "_").replace("mapillary", "mapillary_vistas")
    assert original.dataset == dataset  # which also has as many classes
    weights = tree["MODEL"]["WEIGHTS"]
    swin = "microsoft/" + weights.removesuffix(".pkl").replace("_22k", "-in22k").replace("_", "-")
    assert network.backbone_weights.endswith(WEIGHTS.get(weights, swin))


@pytest.mark.parametrize("name", OF_THE_TABLE)
def test_recipes_whose_files_were_not_found_are_those_of_the_original_s_table(name, read):
    row, run = OF_THE_TABLE[name], read(f'preset = "{name}"')
    assert (run.steps, run.batch_size) == (row["iterations"], row["batch"])
    assert run.network.fields.get("num_queries", 100) == row["queries"]
    other = read(f'preset = "coco-panoptic/{name.split("/")[1]}"').network
    assert run.network.backbone_weights == other.backbone_weights
    assert run.network.fields["backbone_config"] == other.fields["backbone_config"]


def test_a_preset_without_a_backbone_leaves_the_network_to_the_weights(read):
    run = read('preset = "ade20k-semantic"')
    assert (run.network.fields, run.network.backbone_weights, run.network.size) == ({}, None, "512/2048")
    assert run == read('preset = "ade20k-semantic"\n[network]\nsize = "512/2048"')


def test_what_the_file_sets_goes_before_the_preset(read):
    run = read(
        'preset = "coco-panoptic/swin-large"\nsteps = 5\n[optimizer]\nlearning_rate = 1e-5\n'
        "[augmentation]\nsize = 640\n[network.fields]\nnum_queries = 50\n"
        "[network.fields.backbone_config]\ndrop_path_rate = 0.1"
    )
    assert (run.steps, run.batch_size, run.optimizer.learning_rate, run.optimizer.weight_decay) == (5, 16, 1e-5, 0.05)
    assert run.augmentation == LargeScaleJitter(640, 0.1, 2.0)
    assert run.network.fields["num_queries"] == 50
    assert run.network.fields["backbone_config"]["drop_path_rate"] == 0.1
    assert run.network.fields["backbone_config"]["embed_dim"] == 192
    assert PRESETS["coco-panoptic/swin-large"]["network"]["fields"]["num_queries"] == 200
    assert (run.preset, run.dataset_name) == ("coco-panoptic/swin-large", "my")


def test_another_augmentation_replaces_that_of_the_preset(read):
    assert read('preset = "ade20k-panoptic"\n[augmentation]\nkind = "jitter"').augmentation == LargeScaleJitter()
    crop = read('preset = "ade20k-panoptic"\n[augmentation]\nkind = "crop"\ncolor_jitter = false').augmentation
    assert (crop.crop_size, crop.color_jitter) == ((640, 640), False)


@pytest.mark.parametrize("key", ["weights", "backbone_weights"])
def test_weights_of_the_file_replace_those_of_the_preset(key, read):
    network = read(f'preset = "coco-panoptic/swin-tiny"\n[network]\n{key} = "mine"').network
    given = {name: value for name in ("weights", "backbone_weights") if (value := getattr(network, name))}
    assert given == {key: "mine"}
    assert network.fields["backbone_config"]["embed_dim"] == 96


def test_without_validation_images_nothing_is_evaluated(read):
    data = DATA.split("[validation]")[0]
    assert read('preset = "few-photos"').reports.evaluate > 0
    assert read('preset = "few-photos"', data).reports.evaluate == 0
    with pytest.raises(InputError, match=r"line 3: evaluate needs labeled images"):
        read('preset = "few-photos"\n[reports]\nevaluate = 5', data)


def test_the_preset_for_a_few_photos_is_short_careful_and_keeps_the_best(read):
    run = read('preset = "few-photos"\n[network]\nweights = "mine"')
    assert 1000 <= run.steps <= 2000
    assert 2 <= run.batch_size <= 4
    assert run.optimizer.learning_rate < 1e-4
    assert run.optimizer.ema_decay > 0
    assert run.reports.keep_best
    assert run.steps % run.reports.evaluate == run.steps % run.reports.save == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ('"coco-panoptik"', "line 1: there is no preset 'coco-panoptik'; did you mean 'coco-panoptic'"),
        (
            '"coco"',
            r"expected one of few-photos, coco-panoptic, .*, mapillary-semantic, or one of these with a backbone",
        ),
        (
            '"coco-panoptic/swin-huge"',
            r"expected 'coco-panoptic' alone, or with one of the backbones resnet-50, .*swin-large",
        ),
        ('"few-photos/swin-tiny"', "expected 'few-photos' alone"),
        ("3", "line 1: there is no preset 3; expected one of few-photos"),
        ('["coco-panoptic"]', r"there is no preset \['coco-panoptic'\]"),
    ],
)
def test_an_unknown_preset_is_one_sentence(name, message, read):
    with pytest.raises(InputError, match=message) as error:
        read(f"preset = {name}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line", ["augmentation = 3", "network = 3", "reports = 3", "optimizer = []", "validation = 3"])
def test_what_is_no_table_is_reported_as_without_a_preset(line, read):
    with pytest.raises(InputError, match=f"{line.split()[0]} must be a table"):
        read(f'preset = "coco-panoptic/swin-tiny"\n{line}', DATA.split("[validation]")[0])


def test_the_command_line_names_the_presets(tmp_path):
    (tmp_path / "my.toml").write_text(f'preset = "ade20k"\n{DATA}')
    result = run_cli("train", tmp_path / "my.toml", "--output", tmp_path / "out", code=2)
    assert "ade20k-semantic" in result.output


def test_the_guide_s_table_is_that_of_the_presets(read):
    rows = dict(re.findall(r"^\| `([a-z0-9]+-[a-z]+)` \| (.*) \|$", GUIDE, re.M))
    assert list(rows) == [name for name in PRESETS if "/" not in name]
    for name, text in rows.items():
        run = read(f'preset = "{name}"')
        backbones = [other.split("/")[1] for other in PRESETS if other.startswith(f"{name}/")]
        steps, batch, samples, size, listed = text.split(" | ")
        assert (int(steps.replace(",", "")), int(batch)) == (run.steps, run.batch_size)
        assert (samples, size) == (run.sample_size, run.network.size)
        assert [word for word in re.split(r"[ ,`*]+", listed) if word] == (backbones or ["any"])
