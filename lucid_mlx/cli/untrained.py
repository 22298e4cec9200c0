"""The network that stands in where no weights are given."""

import mlx.core as mx

from lucid_mlx.models import Mask2Former, Mask2FormerConfig

UNTRAINED = "Untrained network, random weights: the classes mean nothing"


def untrained_network() -> Mask2Former:
    """Build a small network from a fixed seed: random weights that always give the same picture."""
    mx.random.seed(2)
    model = Mask2Former(
        Mask2FormerConfig(
            num_labels=6,
            feature_size=64,
            mask_feature_size=64,
            hidden_dim=64,
            backbone_config={
                "model_type": "resnet",
                "embedding_size": 16,
                "hidden_sizes": [16, 32, 64, 128],
                "depths": [1, 1, 1, 1],
            },
            num_queries=20,
            encoder_layers=1,
            encoder_feedforward_dim=128,
            decoder_layers=3,
            dim_feedforward=128,
            num_attention_heads=4,
            # Larger heads and weaker attention than for training, so that the queries differ in what they say.
            init_std=0.5,
            init_xavier_std=0.15,
        )
    )
    model.config.id2label = {number: f"untrained {letter}" for number, letter in enumerate("ABCDEF")}
    model.eval()
    mx.eval(model.parameters())
    return model
