"""The original project's optimizer: AdamW in groups of parameters, clipped gradients, a learning rate that falls."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
from mlx.optimizers import AdamW, MultiOptimizer

from lucid_mlx.errors import InputError
from lucid_mlx.ops import GroupNorm
from lucid_mlx.utils.parameters import named_parameters

NORMS = (nn.LayerNorm, GroupNorm, nn.BatchNorm)
BACKBONE = "backbone."
# What the original has as embeddings and bias tables; the pixel decoder's level embedding is a plain parameter there.
EMBEDDINGS = ("query_features", "query_positions", "transformer_decoder.level_embedding")
TABLE = "relative_position_bias_table"
WARM_UP_FROM = 0.001  # of the learning rate; detectron2's

Tree = dict[str, Any]


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are updated; the defaults are those of the original project's configuration for COCO.

    Attributes:
        learning_rate: the highest.
        backbone_multiplier: what that of the backbone is multiplied with.
        weight_decay: of all parameters but norms, embeddings and Swin's bias tables.
        clip: the largest norm of the gradient of all parameters together; 0 for any.
        schedule: how the learning rate falls: "step", "poly" (the original's for ADE20K and Cityscapes) or "cosine".
        milestones: parts of the run after which a "step" comes.
        gamma: what the learning rate is multiplied with at a step.
        power: of "poly".
        warm_up: steps in which the learning rate rises.
        average: keep an average of the parameters that forgets this part of itself not at each step, such as 0.999,
            and use it for all but the training itself; 0 for none.

    Raises:
        InputError: for values out of range.
    """

    learning_rate: float = 1e-4
    backbone_multiplier: float = 0.1
    weight_decay: float = 0.05
    clip: float = 0.01
    schedule: Literal["step", "poly", "cosine"] = "step"
    milestones: tuple[float, ...] = (0.9, 0.96)
    gamma: float = 0.1
    power: float = 0.9
    warm_up: int = 0
    average: float = 0.0

    def __post_init__(self) -> None:
        for name in ("backbone_multiplier", "weight_decay", "clip", "gamma", "power", "warm_up", "average"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise InputError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.average >= 1:
            raise InputError(f"average must be below 1, such as 0.999, got {self.average}")
        if list(self.milestones) != sorted(self.milestones) or not all(0 < part < 1 for part in self.milestones):
            raise InputError(f"milestones are rising parts of the run between 0 and 1, got {list(self.milestones)}")

    def factor(self, step: int, steps: int) -> float:
        """Return what the learning rate is multiplied with at a step, from 0, of a run of so many."""
        along = min(step / steps, 1.0)
        if self.schedule == "cosine":
            factor = 0.5 * (1.0 + math.cos(math.pi * along))
        elif self.schedule == "poly":
            factor = (1.0 - along) ** self.power
        else:
            factor = self.gamma ** sum(along >= milestone for milestone in self.milestones)
        if step < self.warm_up:
            risen = step / self.warm_up
            factor *= WARM_UP_FROM * (1.0 - risen) + risen
        return factor


class Optimizer:
    """AdamW with four groups of parameters: of the backbone or not, with weight decay or without.

    Args:
        model: whose trainable parameters are updated.
        config: rates and schedule.
        steps: of the whole run.

    Attributes:
        state: the moments as a tree, which can be set to what another optimizer for the same model had.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig, steps: int):
        self.model, self.config, self.steps = model, config, steps
        undecayed = without_decay(model)
        groups = [(backbone, decayed) for backbone in (True, False) for decayed in (True, False)]
        self._factors = [config.backbone_multiplier if backbone else 1.0 for backbone, _ in groups]
        self._groups = MultiOptimizer(
            [
                AdamW(0.0, weight_decay=config.weight_decay if decayed else 0.0, bias_correction=True)
                for _, decayed in groups
            ],
            [
                lambda name, _, group=group: (name.startswith(BACKBONE), name not in undecayed) == group
                for group in groups[:-1]
            ],
        )
        self._groups.init(model.trainable_parameters())
        self._apply = mx.compile(self._applied)  # a few operations for each of hundreds of arrays: half of their time

    @property
    def state(self) -> Tree:
        """The moments and step counts."""
        return self._groups.state

    @state.setter
    def state(self, state: Tree) -> None:
        self._groups.state = state

    def update(self, gradients: Tree, step: int) -> None:
        """Change the model; nothing is computed yet.

        Args:
            gradients: a tree like the model's trainable parameters, clipped already.
            step: from 0.
        """
        rate = self.config.learning_rate * self.config.factor(step, self.steps)
        for optimizer, factor in zip(self._groups.optimizers, self._factors, strict=True):
            optimizer.learning_rate = rate * factor
        parameters, self.state = self._apply(self.model.trainable_parameters(), self.state, gradients)
        self.model.update(parameters)

    def _applied(self, parameters: Tree, state: Tree, gradients: Tree) -> tuple[Tree, Tree]:
        self.state = state
        return self._groups.apply_gradients(gradients, parameters), self.state


def without_decay(model: nn.Module) -> set[str]:
    """Name the parameters of a Mask2Former that do not decay: of norms, embeddings and Swin's bias tables."""
    names = {name for name in named_parameters(model) if name.endswith((*EMBEDDINGS, TABLE))}
    for path, module in model.named_modules():
        if isinstance(module, NORMS):
            names |= {f"{path}.{name}" for name in module.parameters()}
    return names


class Average:
    """An exponential moving average of a model's parameters, young ones of the first steps weighted less.

    Args:
        model: whose parameters it follows.
        decay: the most that it keeps of itself at a step.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.arrays = {name: mx.array(array) for name, array in named_parameters(model).items()}

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the parameters after a step, from 0; nothing is computed yet."""
        decay = min(self.decay, (1 + step) / (10 + step))
        self.arrays = _averaged(self.arrays, named_parameters(model), mx.array(decay))


@mx.compile
def _averaged(average: Tree, arrays: Tree, decay: mx.array) -> Tree:
    return {name: decay * average[name] + (1.0 - decay) * array for name, array in arrays.items()}
