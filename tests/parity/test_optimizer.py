"""Steps of the optimizer are torch's: AdamW in groups, the gradient clipped as a whole."""

import helpers
import mlx.core as mx
import numpy as np
import torch
from mlx.optimizers import clip_grad_norm
from mlx.utils import tree_flatten, tree_map

from lucid_mlx.training.optimizer import Optimizer, OptimizerConfig, without_decay
from lucid_mlx.utils.parameters import named_parameters


def test_steps_are_those_of_torch() -> None:
    model = helpers.small_model(backbone_config=helpers.RESNET)
    model.train()
    config = OptimizerConfig(3e-3, 0.1, weight_decay=0.05, max_grad_norm=0.01, schedule="poly", warmup_steps=2)
    optimizer = Optimizer(model, config, 5)
    trained = dict(tree_flatten(model.trainable_parameters()))
    theirs = {name: torch.tensor(np.array(x), requires_grad=True) for name, x in trained.items()}
    no_decay = without_decay(model)
    groups = [
        {
            "params": [x],
            "lr": 3e-3 * (0.1 if name.startswith("backbone.") else 1.0),
            "weight_decay": 0.0 if name in no_decay else 0.05,
        }
        for name, x in theirs.items()
    ]
    other = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(other, lambda step: config.factor(step, 5))
    for step in range(5):
        mx.random.seed(step)
        gradients = tree_map(lambda x: mx.random.normal(x.shape), model.trainable_parameters())
        for name, gradient in tree_flatten(gradients):
            theirs[name].grad = torch.tensor(np.array(gradient))
        torch.nn.utils.clip_grad_norm_(theirs.values(), 0.01)
        other.step()
        schedule.step()
        optimizer.update(clip_grad_norm(gradients, 0.01)[0], step)
    after = named_parameters(model)
    for name, x in theirs.items():
        assert np.allclose(after[name], x.detach().numpy(), rtol=1e-5, atol=1e-6), name
    assert not any(mx.array_equal(after[name], x) for name, x in trained.items())
