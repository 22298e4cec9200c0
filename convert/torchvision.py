"""ResNets with torchvision's keys, which timm and OpenMMLab share."""

from lucid_mlx.convert.rules import Rule

_FROM_1 = "counted from 1 there"


def resnet(root: str) -> list[Rule]:
    """Return the rules of a ResNet whose keys start with `root`."""
    return [
        Rule(root + "conv1.weight", "backbone.stem.0.conv.weight"),
        Rule(root + "bn1.{bn}", "backbone.stem.0.norm.{bn}"),
        Rule(root + "layer{i}.{j}.conv{k}.weight", "backbone.stages.{i-1}.{j}.convs.{k-1}.conv.weight", _FROM_1),
        Rule(root + "layer{i}.{j}.bn{k}.{bn}", "backbone.stages.{i-1}.{j}.convs.{k-1}.norm.{bn}", _FROM_1),
        Rule(root + "layer{i}.{j}.downsample.0.weight", "backbone.stages.{i-1}.{j}.shortcut.conv.weight", _FROM_1),
        Rule(root + "layer{i}.{j}.downsample.1.{bn}", "backbone.stages.{i-1}.{j}.shortcut.norm.{bn}", _FROM_1),
        Rule(root + "{any}.num_batches_tracked", None, "a counter for training from scratch"),
    ]
