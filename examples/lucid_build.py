"""Build and run a network as lucid's documentation does, with `lucid` replaced by `lucid_mlx`.

python examples/lucid_build.py                             # random weights: shapes only
python examples/lucid_build.py --weights ADE20K_SEMANTIC   # lucid's file of Swin-T; the first run downloads 190 MB
"""

import argparse

import lucid_mlx
import lucid_mlx.models as models
import lucid_mlx.weights as W
from lucid_mlx.models.vision.mask2former import mask2former_swin_tiny


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", choices=W.list_available("mask2former_swin_tiny"), metavar="TAG")
    args = parser.parse_args()

    # A preset, with random weights.
    model = mask2former_swin_tiny(num_labels=150)
    x = lucid_mlx.random.randn(1, 3, 224, 224)
    out = model(x)
    print("class logits", out["class_queries_logits"].shape)
    print("mask logits", out["masks_queries_logits"].shape)
    print("class map", model.predict(x).shape)

    if args.weights:
        # An entry of the registry: its configuration, then its weights.
        weight = W.Mask2Former_Swin_Tiny_Weights[args.weights]
        config = models.Mask2FormerConfig(**weight.config)
        model = models.Mask2Former(config).from_pretrained(weight)
        print("first classes:", ", ".join(list(model.config.id2label.values())[:5]))

        # The same by the builder.
        model = models.mask2former_swin_tiny(num_labels=config.num_labels, weights=weight)
        print("class map", model.predict(x).shape)


if __name__ == "__main__":
    main()
