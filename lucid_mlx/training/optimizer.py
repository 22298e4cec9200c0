"""The original project's optimizer: AdamW with parameter groups, gradient clipping and a learning rate schedule."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
from mlx.optimizers import AdamW, MultiOptimizer

from lucid_mlx.ops import GroupNorm
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_COUNT, FieldError, Range, check_fields

NORMS = (nn.LayerNorm, GroupNorm, nn.BatchNorm)
BACKBONE = "backbone."
# `nn.Embedding` in the original project; the pixel decoder's level embedding is a plain parameter there.
EMBEDDINGS = ("query_features", "query_positions", "transformer_decoder.level_embedding")
BIAS_TABLE = "relative_position_bias_table"
WARMUP_FACTOR = 0.001  # of the learning rate at the first step; detectron2's

# What a field may be at least and at most.
RANGES: dict[str, Range] = {
    "learning_rate": (0, 1000),
    "backbone_multiplier": (0, 1000),
    "weight_decay": (0, 1000),
    "max_grad_norm": (0, 1_000_000),
    "gamma": (0, 1000),
    "power": (0, 1000),
    "warmup_steps": (0, MAX_COUNT),
    "ema_decay": (0, 1),
}

Tree = dict[str, Any]


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are updated: AdamW. The defaults are the original project's for COCO.

    Attributes:
        learning_rate: the highest learning rate of the schedule.
        backbone_multiplier: a factor of the learning rate for the backbone.
        weight_decay: the weight decay of all parameters but those of norms, embeddings and Swin's bias tables.
        max_grad_norm: clip the norm of the gradient of all parameters to this; 0 to not clip.
        schedule: how the learning rate falls: in steps, polynomially (the original's for ADE20K and Cityscapes), or as
            half a cosine.
        milestones: with "step", the fractions of the run after which the learning rate falls: 8/9 and 26/27 of the
            original's steps.
        gamma: with "step", the factor of the learning rate at each milestone.
        power: with "poly", the exponent.
        warmup_steps: steps in which the learning rate rises linearly at the start.
        ema_decay: keep an exponential moving average of the parameters with this decay, such as 0.999; it is what is
            saved, evaluated and drawn. 0 for none.

    Raises:
        FieldError: if a value is out of range.
    """

    learning_rate: float = 1e-4
    backbone_multiplier: float = 0.1
    weight_decay: float = 0.05
    max_grad_norm: float = 0.01
    schedule: Literal["step", "poly", "cosine"] = "step"
    milestones: tuple[float, ...] = (327778 / 368750, 355092 / 368750)  # the steps of the original's files for COCO
    gamma: float = 0.1
    power: float = 0.9
    warmup_steps: int = 0
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        if self.learning_rate == 0:
            raise FieldError(f"learning_rate must be above 0, got {self.learning_rate}", "learning_rate")
        if self.ema_decay >= 1:
            raise FieldError(f"ema_decay must be below 1, such as 0.999, got {self.ema_decay}", "ema_decay")
        if list(self.milestones) != sorted(self.milestones) or not all(0 < x < 1 for x in self.milestones):
            raise FieldError(
                f"milestones must be rising fractions of the run between 0 and 1, got {shown(list(self.milestones))}",
                "milestones",
            )

    def factor(self, step: int, steps: int) -> float:
        """Return the factor of the learning rate at a step.

        Args:
            step: the step, from 0.
            steps: the steps of the whole run.

        Returns:
            The factor, from 0 to 1.
        """
        progress = min(step / steps, 1.0)
        if self.schedule == "cosine":
            factor = 0.5 * (1.0 + math.cos(math.pi * progress))
        elif self.schedule == "poly":
            factor = (1.0 - progress) ** self.power
        else:
            factor = self.gamma ** sum(progress >= milestone for milestone in self.milestones)
        if step < self.warmup_steps:
            alpha = step / self.warmup_steps
            factor *= WARMUP_FACTOR * (1.0 - alpha) + alpha
        return factor


class Optimizer:
    """AdamW with four parameter groups: in the backbone or not, with weight decay or without.

    Args:
        model: the model whose trainable parameters are updated.
        config: learning rate, schedule and weight decay.
        steps: the steps of the whole run.

    Attributes:
        state: the moments and step counts as a tree. It can be set to the state of another optimizer of the same model.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig, steps: int):
        self.model, self.config, self.steps = model, config, steps
        no_decay = without_decay(model)
        groups = [(backbone, decay) for backbone in (True, False) for decay in (True, False)]
        self._multipliers = [config.backbone_multiplier if backbone else 1.0 for backbone, _ in groups]
        self._groups = MultiOptimizer(
            [
                AdamW(0.0, weight_decay=config.weight_decay if decay else 0.0, bias_correction=True)
                for _, decay in groups
            ],
            [
                lambda name, _, group=group: (name.startswith(BACKBONE), name not in no_decay) == group
                for group in groups[:-1]
            ],
        )
        self._groups.init(model.trainable_parameters())
        # Hundreds of arrays take a few operations each; compiling halves their time.
        self._compiled_update = mx.compile(self._apply_gradients)

    @property
    def state(self) -> Tree:
        """The moments and step counts."""
        return self._groups.state

    @state.setter
    def state(self, state: Tree) -> None:
        self._groups.state = state

    def update(self, gradients: Tree, step: int) -> None:
        """Update the model's parameters, lazily: nothing is computed before `mx.eval`.

        Args:
            gradients: a tree like the model's trainable parameters, already clipped.
            step: the step, from 0.
        """
        learning_rate = self.config.learning_rate * self.config.factor(step, self.steps)
        for optimizer, multiplier in zip(self._groups.optimizers, self._multipliers, strict=True):
            optimizer.learning_rate = learning_rate * multiplier
        parameters, self.state = self._compiled_update(self.model.trainable_parameters(), self.state, gradients)
        self.model.update(parameters)

    def _apply_gradients(self, parameters: Tree, state: Tree, gradients: Tree) -> tuple[Tree, Tree]:
        self.state = state
        return self._groups.apply_gradients(gradients, parameters), self.state


def without_decay(model: nn.Module) -> set[str]:
    """Return the names of a Mask2Former's parameters without weight decay: norms, embeddings, Swin's bias tables."""
    names = {name for name in named_parameters(model) if name.endswith((*EMBEDDINGS, BIAS_TABLE))}
    for path, module in model.named_modules():
        if isinstance(module, NORMS):
            names |= {f"{path}.{name}" for name in module.parameters()}
    return names


class ExponentialMovingAverage:
    """An exponential moving average (EMA) of a model's parameters. Its decay is smaller in the first steps.

    Args:
        model: the model whose parameters are averaged.
        decay: the largest decay.

    Attributes:
        decay: the largest decay.
        arrays: the averaged parameters by name.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.arrays = {name: mx.array(array) for name, array in named_parameters(model).items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Add the model's parameters to the average, lazily: nothing is computed before `mx.eval`.

        Args:
            model: the model after the step.
            step: the step, from 0.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        self.arrays = _average(self.arrays, named_parameters(model), mx.array(decay))


@mx.compile
def _average(average: Tree, arrays: Tree, decay: mx.array) -> Tree:
    return {name: decay * average[name] + (1.0 - decay) * array for name, array in arrays.items()}
