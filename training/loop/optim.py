"""Recipe and weights -> torch's optimiser, its learning rate's schedule, and the averaged weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR
from torch.optim.swa_utils import AveragedModel

from training.architectures import RateAutoencoder
from training.recipe import Recipe
from training.recipe.recipe import OptimizerName

_MOMENTUM = 0.9

# Factor on the prior's learning rate: its parameters are in quantizer steps, and follow codes that move by many.
_PRIOR_RATE = 5.0

_Tensors = list[Tensor] | tuple[Tensor, ...]
_Groups = list[dict[str, Any]]

_OPTIMIZERS: dict[OptimizerName, Callable[[_Groups, float, float], Optimizer]] = {
    "adamw": lambda weights, rate, decay: AdamW(weights, lr=rate, weight_decay=decay),
    "adam": lambda weights, rate, decay: Adam(weights, lr=rate, weight_decay=decay),
    "sgd": lambda weights, rate, decay: SGD(weights, lr=rate, weight_decay=decay),
    "momentum": lambda weights, rate, decay: SGD(weights, lr=rate, weight_decay=decay, momentum=_MOMENTUM),
}


def make_optimizer(recipe: Recipe, model: nn.Module) -> Optimizer:
    """Make the optimiser that the recipe names. Gains and prior of a rate have no weight decay."""
    groups: _Groups = [{"params": list(model.parameters())}]
    if isinstance(model, RateAutoencoder):
        gain, prior = list(model.encoder.gain.parameters()), list(model.prior.parameters())
        added = {id(parameter) for parameter in (*gain, *prior)}
        groups = [
            {"params": [parameter for parameter in model.parameters() if id(parameter) not in added]},
            {"params": gain, "weight_decay": 0.0},
            {"params": prior, "weight_decay": 0.0, "lr": _PRIOR_RATE * recipe.learning_rate},
        ]
    return _OPTIMIZERS[recipe.optimizer](groups, recipe.learning_rate, recipe.weight_decay)


def make_schedule(recipe: Recipe, optimizer: Optimizer, steps: int) -> LRScheduler:
    """Make the schedule of a run of `steps` steps, to be advanced after each.

    one-cycle: Smith and Topin 2018, https://arxiv.org/abs/1708.07120. cosine and constant rise linearly during warmup.
    """
    if recipe.schedule == "one-cycle":
        # One step more than the run takes, as the last one has a rate of nearly 0.
        peaks = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peaks, total_steps=steps + 1, pct_start=recipe.warmup)
    warmup_steps = round(recipe.warmup * steps)
    rise = LinearLR(optimizer, start_factor=1 / (warmup_steps + 1), total_iters=warmup_steps)
    if recipe.schedule == "constant":
        return rise
    fall = CosineAnnealingLR(optimizer, max(steps - warmup_steps, 1))
    return SequentialLR(optimizer, [rise, fall], [warmup_steps])


def make_ema_model(recipe: Recipe, model: nn.Module) -> AveragedModel | None:
    """Make the model of the exponential moving average of weights and buffers, or None if the recipe averages none.

    The decay rises from 0.1 to `ema_decay` over the steps, so that the initial weights do not linger.
    """
    if recipe.ema_decay == 0:
        return None

    @torch.no_grad()
    def approach(averaged: _Tensors, current: _Tensors, updates: Tensor | int) -> None:
        done = int(updates)
        decay = min(recipe.ema_decay, (1 + done) / (10 + done))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:  # BatchNorm counts its batches in integers
            torch._foreach_copy_(averaged, current)

    return AveragedModel(model, multi_avg_fn=approach, use_buffers=True)
