import pytest

from lucid_mlx.convert.origin import PublishedCheckpoint, _zoo, identify_checkpoint
from lucid_mlx.datasets import DATASETS
from lucid_mlx.weights.catalog import video_catalog

ZOO = "https://dl.fbaipublicfiles.com/maskformer/mask2former/coco/panoptic/maskformer2_R50_bs16_50ep/"


@pytest.mark.parametrize(
    "name",
    [
        "model_final_94dc52.pkl",
        "/a b/model_final_94dc52.pkl",
        "C:\\a\\model_final_94dc52.pkl",
        ZOO + "model_final_94dc52.pkl?x=1",
    ],
)
def test_a_file_of_the_zoo_is_identified_by_its_digits_in_any_folder(name):
    assert identify_checkpoint(name) == PublishedCheckpoint(
        "coco_panoptic", "cc-by-nc-4.0", "Mask2Former R50, COCO panoptic, detectron2 zoo", "PQ 51.9", "images"
    )


@pytest.mark.parametrize(
    ("digits", "dataset", "title", "metric"),
    [
        ("9fd0ae", "coco_panoptic", "Mask2Former Swin-T, COCO panoptic, detectron2 zoo", "PQ 53.2"),
        ("83d103", "coco_instance", "Mask2Former Swin-B (IN21k), COCO instance, detectron2 zoo", "AP 48.1"),
        (
            "17c1ee",
            "cityscapes_semantic",
            "Mask2Former Swin-L (IN21k), Cityscapes semantic, detectron2 zoo",
            "mIoU 83.3",
        ),
        ("0d68be", "ade20k_semantic", "Mask2Former R101, ADE20K semantic, detectron2 zoo", "mIoU 47.8"),
        ("92dae9", "ade20k_instance", "Mask2Former Swin-L (IN21k), ADE20K instance, detectron2 zoo", "AP 34.9"),
        (
            "132c71",
            "mapillary_vistas_panoptic",
            "Mask2Former Swin-L (IN21k), Mapillary Vistas panoptic, detectron2 zoo",
            "PQ 45.5",
        ),
    ],
)
def test_rows_of_the_zoo(digits, dataset, title, metric):
    found = identify_checkpoint(f"model_final_{digits}.pkl")
    assert (found.dataset, found.title, found.metric) == (dataset, title, metric)


def test_the_zoo_is_complete():
    rows = list(_zoo().values())
    assert len(rows) == len(set(rows)) == 47
    videos = {model.dataset for model in video_catalog()}
    assert {dataset for _, dataset, _ in rows} == set(DATASETS) - videos
    metrics = {"panoptic": "PQ", "instance": "AP", "semantic": "mIoU"}
    for _, dataset, metric in rows:
        name, number = metric.split()
        assert name == metrics[dataset.split("_")[-1]]
        assert 25 < float(number) < 90


@pytest.mark.parametrize("model", video_catalog(), ids=lambda model: model.name)
def test_a_network_for_videos_is_identified_by_its_file(model):
    for name in (model.address, model.address.rsplit("/", 1)[1]):
        found = identify_checkpoint(name)
        assert (found.dataset, found.metric) == (model.dataset, model.metric)
        assert (found.license, found.trained_on) == (model.license, model.trained_on)


def test_networks_for_videos_tell_who_trained_them():
    titles = [identify_checkpoint(name).title for name in ("model_final_34112b.pkl", "minvis_ovis_swin_large.pth")]
    assert titles == [
        "Mask2Former R50, YouTube-VIS 2019 instance, detectron2 zoo",
        "Mask2Former Swin-L (IN21k), OVIS instance, MinVIS",
    ]


HUB = """
tiny: ade-semantic coco-instance coco-panoptic cityscapes-instance cityscapes-panoptic cityscapes-semantic
small: ade-semantic coco-instance coco-panoptic cityscapes-instance cityscapes-panoptic cityscapes-semantic
base: ade-semantic coco-instance coco-panoptic
base-IN21k: ade-semantic coco-instance cityscapes-instance cityscapes-panoptic cityscapes-semantic
large: ade-panoptic ade-semantic coco-instance coco-panoptic cityscapes-instance cityscapes-panoptic cityscapes-semantic
large: mapillary-vistas-panoptic mapillary-vistas-semantic
"""
MODELS = [
    f"facebook/mask2former-swin-{size}-{task}"
    for size, tasks in (line.split(":") for line in HUB.strip().splitlines())
    for task in tasks.split()
]


def test_all_models_on_the_hub_are_identified_with_the_zoo_s_metric():
    assert len(MODELS) == 29
    for name in MODELS:
        found = identify_checkpoint(name)
        assert found.dataset in DATASETS
        assert found.dataset.split("_")[-1] == name.split("-")[-1]
        assert (found.license, found.trained_on) == ("cc-by-nc-4.0", "images")
        assert found.metric is not None
    base = identify_checkpoint("facebook/mask2former-swin-base-ade-semantic")
    larger = identify_checkpoint("facebook/mask2former-swin-base-IN21k-ade-semantic")
    assert (base.metric, larger.metric) == ("mIoU 52.4", "mIoU 53.9")
    assert identify_checkpoint("facebook/mask2former-swin-large-coco-panoptic").metric == "PQ 57.8"


@pytest.mark.parametrize(
    "name",
    [
        "https://huggingface.co/facebook/mask2former-swin-tiny-ade-semantic/resolve/main/model.safetensors",
        "hf://facebook/mask2former-swin-tiny-ade-semantic@main",
        "/cache/models--facebook--mask2former-swin-tiny-ade-semantic/snapshots/4f3a/model.safetensors",
    ],
)
def test_a_model_on_the_hub_is_identified_by_its_address_too(name):
    assert identify_checkpoint(name).title == "Mask2Former Swin-T, ADE20K semantic, Hugging Face hub"


def test_a_video_network_on_the_hub():
    found = identify_checkpoint("facebook/video-mask2former-swin-base-youtubevis-2021-instance")
    assert found == PublishedCheckpoint(
        "youtube_vis_2021_instance",
        "cc-by-nc-4.0",
        "Mask2Former Swin-B, YouTube-VIS 2021 instance, Hugging Face hub",
        "AP 52.0",
        "clips",
    )


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        (
            "hf://ChanLumerico/lucid@main/weights/mask2former/mask2former_swin_small_coco_instance.safetensors",
            "coco_instance",
        ),
        ("mask2former_swin_large_ade20k_panoptic.safetensors", "ade20k_panoptic"),
        ("lucid-dl/mask2former-swin-base-ade", "ade20k_semantic"),
    ],
)
def test_lucid_s_conversions_keep_the_license(name, dataset):
    found = identify_checkpoint(name)
    assert (found.dataset, found.license, found.metric) == (dataset, "cc-by-nc-4.0", None)


@pytest.mark.parametrize(
    ("name", "dataset", "title"),
    [
        ("r50_8xb2-lsj-50e_coco-panoptic_20230118_125535-54df384a", "coco_panoptic", "R50, COCO panoptic, MMDetection"),
        ("r50_lsj_8x2_50e_coco-panoptic_20220326_224516-11a44721", "coco_panoptic", "R50, COCO panoptic, MMDetection"),
        (
            "swin-t-p4-w7-224_8xb2-lsj-50e_coco_20220508_091649-01b0f990",
            "coco_instance",
            "Swin-T, COCO instance, MMDetection",
        ),
        ("r101_lsj_8x2_50e_coco_20220426_100250-c50b6fa6", "coco_instance", "R101, COCO instance, MMDetection"),
        ("r50_lsj_8x2_50e_coco_20220326_224516-0091ce2b", "coco_panoptic", "R50, COCO panoptic, MMDetection"),
        (
            "swin-l-p4-w12-384-in21k_16xb1-lsj-100e_coco-panoptic_20220407_104949-82f8d28d",
            "coco_panoptic",
            "Swin-L (IN21k), COCO panoptic, MMDetection",
        ),
        (
            "swin-t_8xb2-160k_ade20k-512x512_20221203_234230-7d64e5dd",
            "ade20k_semantic",
            "Swin-T, ADE20K semantic, MMSegmentation",
        ),
        (
            "swin-b-in22k-384x384-pre_8xb2-90k_cityscapes-512x1024_20221203_045030-9a86a225",
            "cityscapes_semantic",
            "Swin-B (IN21k), Cityscapes semantic, MMSegmentation",
        ),
        (
            "swin-b-in1k-384x384-pre_8xb2-160k_ade20k-640x640_20221129_125118-a4a086d2",
            "ade20k_semantic",
            "Swin-B, ADE20K semantic, MMSegmentation",
        ),
        (
            "r50_8xb2-8e_youtubevis2021_20230426_131833-5d215283",
            "youtube_vis_2021_instance",
            "R50, YouTube-VIS 2021 instance, MMDetection",
        ),
    ],
)
def test_files_of_openmmlab(name, dataset, title):
    found = identify_checkpoint(f"https://download.openmmlab.com/x/mask2former_{name}.pth")
    trained_on = "clips" if "youtubevis" in name else "images"
    # A file that was replaced, of another training, or of videos has no accuracy in the list.
    metric = found.metric if "youtubevis" not in name and "20220326_224516" not in name else None
    assert found == PublishedCheckpoint(dataset, "apache-2.0", f"Mask2Former {title}", metric, trained_on)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "model_final.pth",
        "model_final.pkl",
        "model_final_94dc53.pkl",  # not in the zoo
        "model_final_94dc52.pth",
        "model_final_34112c.pkl",
        "minvis_ytvis19_R50.pkl",
        "minvis_ytvis19_R18.pth",
        "my_model_final_94dc52.pkl",
        "model_final_94dc52.pkl/epoch_3.pth",
        "mask2former-swin-tiny-ade-semantic",  # the owner is missing
        "somebody/mask2former-swin-tiny-ade-semantic",
        "notfacebook/mask2former-swin-tiny-ade-semantic",
        "facebook/mask2former-swin-tiny-ade-semantic-finetuned",
        "facebook/mask2former-swin-tiny-lvis-instance",
        "facebook/maskformer-swin-tiny-ade",
        "mask2former_swin_tiny_coco_instance.pkl",
        "mask2former_swin_tiny_my_coco_instance.safetensors",
        "mask2former_r50_8xb2-lsj-50e_coco-panoptic.pth",
        "mask2former_r50_8xb2-20k_HOTS_v1-512x512_pretrained_ade20k-512x512_20230118_125535-54df384a.pth",
        "maskformer_r50_8xb2-lsj-50e_coco-panoptic_20230118_125535-54df384a.pth",
        "epoch_50.pth",
    ],
)
def test_other_names_are_not_identified(name):
    assert identify_checkpoint(name) is None
