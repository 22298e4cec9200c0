"""The examples of lucid's documentation, with `lucid` replaced by `lucid_mlx`."""


def test_build_from_a_preset(capsys):
    import lucid_mlx
    from lucid_mlx.models.vision.mask2former import mask2former_swin_small

    model = mask2former_swin_small(num_labels=150)
    x = lucid_mlx.random.randn(1, 3, 224, 224)

    out = model(x)
    print(out["class_queries_logits"].shape)
    print(out["masks_queries_logits"].shape)
    assert capsys.readouterr().out == "(1, 100, 151)\n(1, 100, 56, 56)\n"


def test_swin_base_at_384(capsys):
    import lucid_mlx
    import lucid_mlx.models as models

    model = models.mask2former_swin_base(num_labels=150)
    x = lucid_mlx.random.randn(1, 3, 384, 384)
    out = model(x)
    print(out["masks_queries_logits"].shape)
    assert capsys.readouterr().out == "(1, 100, 96, 96)\n"


def test_predict(capsys):
    import lucid_mlx
    from lucid_mlx.models.vision.mask2former import mask2former_swin_tiny

    model = mask2former_swin_tiny(num_labels=150)
    x = lucid_mlx.random.randn(1, 3, 224, 224)
    pred = model.predict(x)
    print(pred.shape)
    assert capsys.readouterr().out == "(1, 224, 224)\n"


def test_configuration_by_keyword():
    import lucid_mlx.models as models

    config = models.Mask2FormerConfig(
        num_labels=3,
        backbone_config={
            "model_type": "swin",
            "image_size": 224,
            "patch_size": 4,
            "num_channels": 3,
            "embed_dim": 96,
            "depths": [2, 2, 6, 2],
            "num_heads": [3, 6, 12, 24],
            "window_size": 7,
            "drop_path_rate": 0.3,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
    )
    assert models.Mask2Former(config).backbone.channels == (96, 192, 384, 768)
