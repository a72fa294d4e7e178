"""Recipe and images -> a run folder with checkpoints of a trained autoencoder.

One epoch is one pass over the training images in a new order; after each, the validation images decide whether it is
the best so far. All randomness of an epoch comes from generators seeded by the recipe's seed and the epoch's number, so
an interrupted run goes on exactly as if it had not been interrupted.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from latentwire.imaging.image import MAX_BATCH_VALUES
from training.architectures import Autoencoder, RateAutoencoder, build_autoencoder
from training.batches import part_size
from training.data.datasets import Dataset, split_sizes, split_training
from training.errors import Diverged, Interrupted, InvalidCheckpoint, InvalidRecipe
from training.loop.augment import random_warp
from training.loop.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from training.loop.early_stopping import EarlyStopping
from training.loop.losses import LOSSES, Loss
from training.loop.noise import add_noise
from training.loop.optim import make_ema_model, make_optimizer, make_schedule
from training.loop.rate import measure_rate, psnr_db, rate_loss
from training.loop.warm_start import InitialWeights, load_weights
from training.provenance import describe_environment
from training.recipe import Codebook, Recipe
from training.runs import RunFolder

# Least number of images that gains and prior of a rate are fitted to, however large the images are.
_LEAST_START_IMAGES = 64


class EpochReport(NamedTuple):
    """The figures of one epoch.

    `train_loss` is the mean over its steps, including what the network adds to the recipe's loss. `validation_loss` is
    the recipe's loss alone, on clean validation images, and `validation_rmse` their RMSE per pixel in [0, 1].

    If a rate is trained, codes are rounded as in use, `validation_loss` weighs their bits as training does, and
    `validation_bits` are the mean bits of an image by the symbols' frequencies, `validation_prior_bits` by the prior.
    """

    epoch: int
    epochs: int
    train_loss: float
    validation_loss: float
    validation_rmse: float
    best_epoch: int
    learning_rate: float
    seconds: float
    validation_bits: float | None = None
    validation_prior_bits: float | None = None

    def __str__(self) -> str:
        left = (self.epochs - self.epoch) * self.seconds
        star = " (best)" if self.best_epoch == self.epoch else ""
        quality = f"RMSE {self.validation_rmse:.5f}"
        if self.validation_bits is not None:
            quality = f"{psnr_db(self.validation_rmse):.2f} dB at {self.validation_bits / 8:.2f} bytes"
        return (
            f"epoch {self.epoch}/{self.epochs}  loss {self.train_loss:.6f}  "
            f"validation {quality}{star}  {self.seconds:.1f} s, about {left:.0f} s left"
        )

    def metrics(self) -> dict[str, Any]:
        """Return the epoch's line of `metrics.jsonl`."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class EpochEnd(NamedTuple):
    """An epoch's figures, and the network in evaluation mode, with averaged weights if the recipe averages."""

    report: EpochReport
    model: nn.Module


Listener = Callable[[EpochEnd], None]


def train(
    recipe: Recipe,
    dataset: Dataset,
    run: RunFolder,
    listeners: Sequence[Listener] = (),
    initial_weights: InitialWeights | None = None,
) -> None:
    """Train from the first epoch to the last.

    Args:
        recipe: the recipe of the run, which its folder already holds.
        dataset: the data set that the recipe names.
        run: a new folder.
        listeners: each is called after each epoch, when its checkpoint is on the disk.
        initial_weights: another run's weights, in place of random ones.

    Raises:
        InvalidRecipe: the machine or the data set lacks what the recipe asks for.
        CannotWrite: the disk is full; the last checkpoint is intact.
        Diverged: the loss is no longer a number.
        Interrupted: Ctrl-C; `resume` goes on from the last whole epoch.
    """
    with deterministic_torch(recipe):
        training = _Training(recipe, dataset, run)
        training.begin(initial_weights)
        environment = {
            **describe_environment(),
            "image": training.shape.model_dump(),
            "device": str(training.device),
            "threads": torch.get_num_threads(),
            **({} if initial_weights is None else {"started_from": initial_weights.record}),
        }
        run.write_json(run.environment_file, environment)
        # A checkpoint before the first epoch allows to resume, and finds a full disk at once.
        training.save()
        training.run_epochs(listeners)


def resume(run: RunFolder, dataset: Dataset, listeners: Sequence[Listener] = ()) -> bool:
    """Go on from the last checkpoint; return False if the run is complete already.

    Raises:
        InvalidRun: there is no checkpoint.
        InvalidCheckpoint: it is damaged, or was made by another recipe or for other images.
        InvalidRecipe, CannotWrite, Diverged, Interrupted: as in `train`.
    """
    recipe = run.recipe()
    checkpoint = load_checkpoint(run.last, recipe)
    if checkpoint.epoch >= recipe.epochs:
        return False
    with deterministic_torch(recipe):
        training = _Training(recipe, dataset, run)
        training.restore(checkpoint)
        if training.is_finished:
            return False
        run.drop_metrics_after(checkpoint.epoch)
        training.run_epochs(listeners)
    return True


def check(recipe: Recipe, dataset: Dataset) -> None:
    """Check that a recipe can be run on this machine with this data set, before a run's folder is made.

    Raises:
        InvalidRecipe: too few images, layers that do not fit them, or no GPU.
    """
    images, _ = split_sizes(dataset.name, len(dataset.train), recipe)
    if isinstance(recipe.architecture, Codebook) and recipe.architecture.entries > images:
        raise InvalidRecipe(f"{recipe.architecture.entries} entries cannot be made of {images} training images")
    _device(recipe)
    with torch.device("meta"):  # networks on this device have shapes, but take no memory
        build_autoencoder(recipe, dataset.shape)


class _Training:
    """A run in memory: network, optimiser, schedule, averaged weights, and progress."""

    def __init__(self, recipe: Recipe, dataset: Dataset, run: RunFolder) -> None:
        self.recipe = recipe
        self.folder = run
        self.shape = dataset.shape
        self.device = _device(recipe)
        split = split_training(dataset, recipe)
        self.images = self._on_device(split.train.pixels)
        self.validation = self._on_device(split.validation.pixels)
        self.steps_per_epoch = len(self.images) // recipe.batch_size
        self.steps = recipe.epochs * self.steps_per_epoch

        torch.manual_seed(recipe.seed)
        self.model: Autoencoder = build_autoencoder(recipe, dataset.shape).to(self.device)
        if recipe.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer: Optimizer = make_optimizer(recipe, self.model)
        self.schedule: LRScheduler = make_schedule(recipe, self.optimizer, self.steps)
        self.ema_model: AveragedModel | None = make_ema_model(recipe, self.model)
        self.loss: Loss = LOSSES[recipe.loss]
        self.stopping = EarlyStopping(recipe.patience, recipe.min_change)
        self.epoch = 0
        self.best_epoch = 0
        self.best_rmse = math.inf
        self.best_bits = 0.0

    def begin(self, initial_weights: InitialWeights | None) -> None:
        """Set the weights of the first step, unless they are random."""
        if initial_weights is None:
            self.model.start_from(self._first_images())
        else:
            load_weights(initial_weights, self.recipe, self.model)
            if isinstance(self.model, RateAutoencoder) and not initial_weights.has_rate:
                self.model.fit_gain(self._first_images(), trained=True)
        if self.ema_model is not None:
            self.ema_model.module.load_state_dict(self.model.state_dict())

    @property
    def is_finished(self) -> bool:
        return self.epoch >= self.recipe.epochs or (self.recipe.stop_on != "none" and self.stopping.should_stop)

    def run_epochs(self, listeners: Sequence[Listener]) -> None:
        try:
            while not self.is_finished:
                report = self._run_epoch()
                for listener in listeners:
                    listener(EpochEnd(report, self._evaluated().eval()))
        except KeyboardInterrupt as error:
            raise Interrupted(
                f"stopped; go on after epoch {self.epoch} of {self.recipe.epochs} with "
                f"`python -m training resume {self.folder}`"
            ) from error

    def restore(self, checkpoint: Checkpoint) -> None:
        try:
            self.model.load_state_dict(checkpoint.model)
            if self.ema_model is not None:
                self.ema_model.load_state_dict(checkpoint.ema or {})
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.schedule.load_state_dict(checkpoint.schedule)
        except (RuntimeError, ValueError, KeyError) as error:
            raise InvalidCheckpoint(
                f"the checkpoint {self.folder.last} does not fit the network of its recipe"
            ) from error
        self.epoch, self.best_epoch = checkpoint.epoch, checkpoint.best_epoch
        self.best_rmse, self.best_bits = checkpoint.best_rmse, checkpoint.best_bits
        self.stopping.lowest, self.stopping.waited = checkpoint.lowest_loss, checkpoint.epochs_waited

    def save(self) -> None:
        checkpoint = Checkpoint(
            recipe=self.recipe.model_dump(mode="json"),
            shape=self.shape.as_tuple(),
            epoch=self.epoch,
            best_epoch=self.best_epoch,
            best_rmse=self.best_rmse,
            model=self.model.state_dict(),
            ema=None if self.ema_model is None else self.ema_model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            lowest_loss=self.stopping.lowest,
            epochs_waited=self.stopping.waited,
            best_bits=self.best_bits,
        )
        if self.epoch and self.best_epoch == self.epoch:
            save_checkpoint(self.folder.best, checkpoint)
        save_checkpoint(self.folder.last, checkpoint)

    def _run_epoch(self) -> EpochReport:
        epoch, started = self.epoch + 1, time.monotonic()
        learning_rate = self.optimizer.param_groups[0]["lr"]
        train_loss = self._train_epoch(epoch)
        model = self._evaluated()
        validation_loss, rmse = validate(model, self.validation, self.loss)
        rate = measure_rate(model, self.validation) if isinstance(model, RateAutoencoder) else None
        bits = 0.0 if rate is None else rate.bits
        if not math.isfinite(train_loss + rmse + bits):
            raise Diverged(
                f"the loss is no longer a number in epoch {epoch}; try a smaller learning_rate than "
                f"{self.recipe.learning_rate}"
            )
        if rate is not None:
            validation_loss = self._cost(rmse, bits)
        if self._cost(rmse, bits) < self._cost(self.best_rmse, self.best_bits):
            self.best_epoch, self.best_rmse, self.best_bits = epoch, rmse, bits
        if self.recipe.stop_on != "none":
            self.stopping.record(train_loss if self.recipe.stop_on == "training" else validation_loss)
        report = EpochReport(
            epoch=epoch,
            epochs=self.recipe.epochs,
            train_loss=train_loss,
            validation_loss=validation_loss,
            validation_rmse=rmse,
            best_epoch=self.best_epoch,
            learning_rate=learning_rate,
            seconds=time.monotonic() - started,
            validation_bits=None if rate is None else rate.bits,
            validation_prior_bits=None if rate is None else rate.prior_bits,
        )
        # Metrics before the checkpoint: `resume` drops the metrics of an epoch without a checkpoint.
        self.folder.append_metrics(report.metrics())
        self.epoch = epoch
        self.save()
        return report

    def _cost(self, rmse: float, bits: float) -> float:
        """Return the quantity that is least in the best epoch."""
        if self.recipe.rate_lambda == 0:
            return rmse
        return rate_loss(rmse**2, bits, self.recipe.rate_lambda, math.prod(self.shape.as_tuple()))

    def _train_epoch(self, epoch: int) -> float:
        # One generator for order, warps and noise; torch's global one serves layers that draw.
        seed = self.recipe.seed * 1_000_003 + epoch
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        order = torch.randperm(len(self.images), generator=generator).to(self.device)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        self.model.train()
        bar = tqdm(
            range(self.steps_per_epoch),
            desc=f"epoch {epoch}/{self.recipe.epochs}",
            unit="step",
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        for step in bar:
            batch = order[step * self.recipe.batch_size :][: self.recipe.batch_size]
            x = self._to_x(self.images[batch])
            if self.recipe.augment > 0 and self._progress(epoch, step) < self.recipe.augment_until:
                x = random_warp(x, self.recipe.augment, generator)
            total += self._take_step(x, generator)
            if not bar.disable and step % 20 == 19:
                bar.set_postfix(loss=f"{total.item() / (step + 1):.5f}", refresh=False)
        return total.item() / self.steps_per_epoch

    def _take_step(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if self.recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        x_noisy = add_noise(x, self.recipe.noise, self.recipe.noise_std, generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            x_hat, penalty = self.model.reconstruct(x_noisy, generator)
        loss = self.loss(x_hat, x)
        if penalty is not None:
            loss = loss + penalty
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()
        if self.ema_model is not None:
            self.ema_model.update_parameters(self.model)
        return loss.detach()

    def _progress(self, epoch: int, step: int) -> float:
        return ((epoch - 1) * self.steps_per_epoch + step) / self.steps

    def _evaluated(self) -> Autoencoder:
        return self.model if self.ema_model is None else cast(Autoencoder, self.ema_model.module)

    def _first_images(self) -> Tensor:
        """Return the images that the network's initial weights are set from, all at once in memory."""
        count = self.model.start_images
        if isinstance(self.model, RateAutoencoder):
            count = min(count, max(_LEAST_START_IMAGES, MAX_BATCH_VALUES // math.prod(self.shape.as_tuple())))
        return self._to_x(self.images[:count])

    def _on_device(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)

    @staticmethod
    def _to_x(pixels: Tensor) -> Tensor:
        return pixels.contiguous().float() / 255


@torch.no_grad()
def validate(model: nn.Module, pixels: Tensor, loss: Loss) -> tuple[float, float]:
    """Return loss and RMSE per pixel, in [0, 1], of a network's float reconstructions of uint8 (N, C, H, W) pixels."""
    model.eval()
    squares = losses = 0.0
    for batch in torch.split(pixels, part_size(pixels.shape[1:])):
        x = batch.contiguous().float() / 255
        x_hat = model(x)
        squares += (x_hat - x).double().square().sum().item()
        losses += loss(x_hat, x).item() * len(batch)
    return losses / len(pixels), math.sqrt(squares / pixels.numel())


def _device(recipe: Recipe) -> torch.device:
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise InvalidRecipe("the recipe's device is cuda, but torch finds no GPU; set device to auto or cpu")
    return torch.device("cuda" if recipe.device != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def deterministic_torch(recipe: Recipe) -> Iterator[None]:
    """Let torch use the recipe's threads and deterministic algorithms only; restore its settings afterwards."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses to be deterministic
    before: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    }
    torch.set_num_threads(recipe.threads or before["threads"])
    torch.use_deterministic_algorithms(True)
    # Filling takes time, and no code here reads uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.set_num_threads(before["threads"])
        torch.use_deterministic_algorithms(before["deterministic"])
        torch.utils.deterministic.fill_uninitialized_memory = before["fill"]  # type: ignore[attr-defined]
