"""Photographs -> a run folder with checkpoints. The flat phase goes on for as long as it is let; a cooldown ends it.

A run is a folder of `settings.json`, `log.txt`, TensorBoard's files and `checkpoint-<step>.pt`. Everything random in a
step comes from the seed, the phase and the step's number, so a run that was stopped goes on exactly as if it had not
been. A cooldown is another run, which starts from the weights of a checkpoint and lowers the rates to 1 %; the flat run
can go on meanwhile, and be cooled down again later from where it is then. A smaller network begins as a cooldown of a
larger one.
"""

import dataclasses
import io
import json
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, Self, TextIO

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from training.photo.crops import Batch, CropSettings, batches, make_batch
from training.photo.eight_bits import begin_eight_bits
from training.photo.evaluate import training_batches
from training.photo.gathered import GatheredPictures
from training.photo.klt import start_as_klt
from training.photo.measure import ValidationSet
from training.photo.model import LAMBDAS, LEVELS, PhotoCodec, Widths
from training.photo.optimisation import Average, make_optimizers, set_rate
from training.photo.pictures import load_split
from training.photo.shrink import shrink

FORMAT = 2
# What a cooldown does otherwise than the flat run that it branches from.
COOLDOWN: dict[str, Any] = {
    "phase": "cooldown",
    "warmup": 1,
    "crop": 256,
    "batch_pixels": 262144,
    "average": 0.998,
    "exact_ends": True,
}
# The same for a smaller network, whose first steps have no momenta yet.
SHRINK: dict[str, Any] = {**COOLDOWN, "warmup": 200}
# The same for a network that begins to round to 8 bits. What receivers need to find symbols stays as it is.
EIGHT_BITS: dict[str, Any] = {**SHRINK, "eight_bits": True, "trained": "transforms"}
UNIT_BATCHES = 16  # that units of 8 bits are chosen by
PARTS = 2  # of a batch, that are computed at one time or another
MOST_SKIPPED = 10  # steps in a row whose loss or gradient is not finite
START_CROPS = 256  # that the first weights are fitted to


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides what a run makes.

    Attributes:
        data: folder of the photographs.
        device: cpu, or cuda, where batches are made on it too.
        seed: of weights, batches and noise.
        phase: flat, or cooldown.
        trained: all parts; or only those of a sender, for receivers that stay as they are; or transforms: these and the
            decoder.
        eight_bits: encoder and decoder compute with integers of 8 bits.
        optimizer: muon or adam.
        rate: of the kernels, as in `make_optimizers`.
        warmup: steps in which rates rise.
        steps: of a cooldown; a flat run ends after them if there are any.
        minutes: the same in time, where it is not known how many steps that is; then nothing is the same to the bit.
        crop: side of crops in pixels.
        batch_pixels: of a step, about.
        average: decay of the running average of weights.
        clip: of the gradient's norm.
        bf16: compute in bfloat16.
        exact_ends: but not where means, scales and symbols come from.
        threads: how many parts of a batch are computed at a time; without effect on the weights.
        widths: channels of each part.
        validation_share: of the photographs, that only measure.
        every: read only each so manieth photograph.
        log_steps, check_pixels, save_minutes, keep_pixels: how often to write a line, measure, save, and keep.
    """

    data: str
    device: str = "cpu"
    seed: int = 0
    phase: Literal["flat", "cooldown"] = "flat"
    trained: Literal["all", "sender", "transforms"] = "all"
    eight_bits: bool = False
    optimizer: str = "muon"
    rate: float = 0.02
    warmup: int = 200
    steps: int = 0
    minutes: float = 0.0
    crop: int = 128
    batch_pixels: int = 131072
    average: float = 0.9995
    clip: float = 5.0
    bf16: bool = True
    exact_ends: bool = False
    threads: int = 2
    widths: Widths = dataclasses.field(default_factory=Widths)
    validation_share: float = 0.05
    every: int = 1
    log_steps: int = 100
    check_pixels: int = 200_000_000
    save_minutes: float = 4.0
    keep_pixels: int = 1_000_000_000

    @classmethod
    def read(cls, values: dict[str, Any]) -> Self:
        """Return settings of what `settings.json` or a checkpoint holds."""
        widths = dict(values["widths"])
        widths["context"] = tuple(widths["context"])
        return cls(**{**values, "widths": Widths(**widths)})

    def values(self) -> dict[str, Any]:
        """Return what `settings.json` and checkpoints hold."""
        return {**dataclasses.asdict(self), "widths": self.widths._asdict()}


def progress(settings: Settings, step: int, minutes: float) -> float:
    """Return how much of a run is done, from 0 to 1; of a flat one without an end nothing is."""
    done = step / settings.steps if settings.steps else 0.0
    return min(1.0, max(done, minutes / settings.minutes if settings.minutes else 0.0))


def rate_factor(settings: Settings, step: int, minutes: float = 0.0) -> float:
    """Return the share of the full rates at a step: rising, then flat; in a cooldown, cosine to 1 %."""
    risen = min(1.0, (step + 1) / settings.warmup)
    if settings.phase == "cooldown":
        return risen * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress(settings, step, minutes))))
    return risen


def level_weight(weight: Tensor) -> Tensor:
    """Return what a level's loss counts, so that levels of few bits matter as much as those of many.

    A loss of bits a pixel + lambda x squared error grows about as lambda^0.57.
    """
    counts: Tensor = (weight / LAMBDAS[LEVELS // 2]) ** -0.45
    return counts


class Training:
    """A run in memory."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        torch.set_num_threads(1)
        self.pool = ThreadPoolExecutor(settings.threads)
        self.settings = settings
        self.folder = folder
        self.split = load_split(Path(settings.data), settings.validation_share, settings.every)
        self.crops = CropSettings(crop=settings.crop, pixels=settings.batch_pixels)
        torch.manual_seed(settings.seed)
        self.device = torch.device(settings.device)
        if self.device.type == "cuda":
            # Integers of 8 bits are exact in tf32 too.
            torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
            torch.backends.cuda.matmul.allow_tf32 = True
        self.codec = PhotoCodec(settings.widths, settings.eight_bits).to(self.device)
        for layer in self.codec.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.codec.exact_ends = settings.exact_ends
        if settings.trained != "all":
            parts = PhotoCodec.SENDERS_PARTS + (PhotoCodec.DECODER_PARTS if settings.trained == "transforms" else ())
            for name, weight in self.codec.named_parameters():
                weight.requires_grad_(name.split(".")[0] in parts)
        self.trained = [weight for weight in self.codec.parameters() if weight.requires_grad]
        self.optimizers = make_optimizers(self.codec, settings.optimizer, settings.rate)
        self.average = Average(self.codec, settings.average)
        self.validation = ValidationSet(self.split.validation, device=self.device)
        self.step = 0
        self.pixels = 0
        self.kept = 0
        self.stopping = False

    def begin(self) -> None:
        """Set the first weights."""
        start = self.crops._replace(pixels=START_CROPS * self.settings.crop**2, small_share=0.0)
        batch = make_batch(self.split.training, start, LEVELS, (self.settings.seed, 2, 0))
        start_as_klt(self.codec, batch.pixels.to(self.device))
        self.average = Average(self.codec, self.settings.average)

    def load(self, path: Path, weights_only: bool = False) -> None:
        """Take over a checkpoint: all of it, or its weights, averages and momenta for another run.

        Of a larger network, the weights are taken that come nearest. Momenta are those of the same weights only.
        """
        content = read_checkpoint(path)
        before = Settings.read(content["settings"])
        model, average = content["model"], content["average"]
        if before.trained != self.settings.trained:
            # The averages are what receivers hold, and what their parts stay at.
            model = {**model, **average}
        if before.widths != self.settings.widths:
            model, average = (shrink(each, before.widths, self.settings.widths) for each in (model, average))
        begins_to_round = self.settings.eight_bits and not before.eight_bits
        self.codec.load_state_dict(model, strict=not begins_to_round)
        with torch.no_grad():
            for name, value in average.items():
                self.average.values[name].copy_(value)
        if begins_to_round:
            self._put(self.average.values)
            begin_eight_bits(self.codec, training_batches(self.split.training, UNIT_BATCHES, seed=self.settings.seed))
            self.average = Average(self.codec, self.settings.average)
        same = all(getattr(before, name) == getattr(self.settings, name) for name in ("optimizer", "trained", "widths"))
        states = content["optimizers"] if same else []
        for optimizer, state in zip(self.optimizers, states, strict=bool(states)):
            full = [group["full_lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(state)
            for group, rate in zip(optimizer.param_groups, full, strict=True):
                group["full_lr"] = rate
        self.pixels = content["pixels"]
        if not weights_only:
            self.step = content["step"]
            self.kept = content["kept"]

    def save(self) -> Path:
        """Write a checkpoint; drop those before the last two, but for one each `keep_pixels`."""
        path = self.folder / f"checkpoint-{self.step:08d}.pt"
        keep = self.pixels // self.settings.keep_pixels > self.kept
        if keep:
            self.kept = self.pixels // self.settings.keep_pixels
        content = {
            "format": FORMAT,
            "settings": self.settings.values(),
            "step": self.step,
            "pixels": self.pixels,
            "kept": self.kept,
            "model": self.codec.state_dict(),
            "average": self.average.values,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        write_atomically(path, content)
        if keep:
            shutil.copyfile(path, self.folder / f"kept-{self.pixels // 1_000_000:06d}-Mpx.pt")
        for old in sorted(self.folder.glob("checkpoint-*.pt"))[:-2]:
            old.unlink()
        return path

    def run(self) -> None:
        """Train until the steps are done, or a signal to end comes; then save."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        with (self.folder / "log.txt").open("a", buffering=1) as log, SummaryWriter(str(self.folder)) as board:
            macs = self._describe()
            _say(
                log,
                f"{'goes on at' if self.step else 'begins at'} step {self.step}, {self.pixels / 1e6:.0f} Mpx; {macs}",
            )
            self._run(log, board)
            self.save()
            _say(log, f"{'stopped' if self.stopping else 'done'} at step {self.step}, {self.pixels / 1e6:.0f} Mpx")

    def _run(self, log: TextIO, board: SummaryWriter) -> None:
        settings = self.settings
        phase = 1 if settings.phase == "cooldown" else 0
        saved = logged = time.monotonic()
        sums = torch.zeros(5)
        since = skipped = 0
        checked = self.pixels // settings.check_pixels
        if self.step == 0:
            self.save()
            self._check(log, board)
        began = time.monotonic()
        for batch in self._batches((settings.seed, phase)):
            minutes = (time.monotonic() - began) / 60
            set_rate(self.optimizers, rate_factor(settings, self.step, minutes))
            figures = self._take_step(batch, phase)
            self.step += 1
            self.pixels += batch.quality.numel() * batch.inside[0].numel()
            since += batch.quality.numel() * batch.inside[0].numel()
            if torch.isfinite(figures).all():
                self.average.update(self.codec, self.step)
                sums += figures
                skipped = 0
            else:
                skipped += 1
                _say(log, f"step {self.step} was skipped: its loss or gradient is no number")
                if skipped > MOST_SKIPPED:
                    raise FloatingPointError(f"the loss is no number any more at step {self.step}")
            now = time.monotonic()
            if self.step % settings.log_steps == 0:
                loss, bits, hyper, psnr, norm = (sums / settings.log_steps).tolist()
                speed = since / (now - logged) / 1e6
                _say(
                    log,
                    f"step {self.step} {self.pixels / 1e6:.0f} Mpx {speed:.3f} Mpx/s loss {loss:.4f} bpp {bits:.3f} "
                    f"z {hyper:.4f} psnr {psnr:.2f} norm {norm:.2f} "
                    f"rate x {rate_factor(settings, self.step, minutes):.3f}",
                )
                for name, value in {"loss": loss, "bpp": bits, "hyper_bpp": hyper, "psnr": psnr, "norm": norm}.items():
                    board.add_scalar(f"training/{name}", value, self.pixels // 1_000_000)
                board.add_scalar("speed/megapixels_per_second", speed, self.pixels // 1_000_000)
                sums.zero_()
                since, logged = 0, now
            done = self.stopping or progress(settings, self.step, minutes) >= 1
            if now - saved > 60 * settings.save_minutes and not done:
                self.save()
                saved = time.monotonic()
            if self.pixels // settings.check_pixels > checked or (done and not self.stopping):
                checked = self.pixels // settings.check_pixels
                self._check(log, board)
                logged = time.monotonic() - (now - logged)
            if done:
                break

    def _batches(self, seed: tuple[int, int]) -> Generator[Batch, None, None]:
        if self.device.type == "cpu":
            return batches(self.split.training, self.crops, LEVELS, seed, self.step)
        return GatheredPictures(self.split.training, self.device).batches(self.crops, LEVELS, seed, self.step)

    def _take_step(self, batch: Batch, phase: int) -> Tensor:
        """Move the weights by one batch; return loss, bits a pixel, those of z, PSNR and the gradient's norm.

        The batch is computed in parts, as many at a time as there are threads. Threads meet once a step only, which is
        faster than within each layer where other processes want the cores too; and weights do not depend on them.
        """
        parts = []
        at_once = PARTS if self.device.type == "cpu" else 1
        for number, rows in enumerate(torch.arange(len(batch.quality)).tensor_split(at_once)):
            if len(rows):
                noise = torch.Generator(self.device).manual_seed(
                    hash((self.settings.seed, phase, self.step, number)) % 2**63
                )
                part = Batch(*(values[rows[0] : rows[-1] + 1] for values in batch))
                parts.append(self.pool.submit(self._gradients, part, noise, len(batch.quality)))
        done = [part.result() for part in parts]
        gradients = done[0][0]
        for more, _ in done[1:]:
            torch._foreach_add_(gradients, more)
        for weight, gradient in zip(self.trained, gradients, strict=True):
            weight.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.settings.clip)
        if torch.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
        loss, bits, hyper, error = torch.stack([figures for _, figures in done]).sum(0)
        return torch.stack([loss, bits, hyper, -10 * torch.log10(error), norm.detach()]).cpu()

    def _gradients(self, part: Batch, noise: torch.Generator, count: int) -> tuple[list[Tensor], Tensor]:
        """Return a part's gradients, and its shares of loss, bits a pixel, those of z, and squared error."""
        torch.set_num_threads(1)
        pixels = part.pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            coded = self.codec(pixels, part.quality, noise)
        area = part.inside.sum((1, 2, 3))
        error = ((coded.pixels - pixels) ** 2 * part.inside).sum((1, 2, 3)) / (3 * area)
        bits = (coded.latent_bits + coded.hyper_bits) / area
        weight = LAMBDAS[0] * torch.exp2(part.quality)
        loss = ((bits + weight * 65025 * error) * level_weight(weight)).sum() / count
        gradients = torch.autograd.grad(loss, self.trained)
        shares = [bits.detach().sum(), (coded.hyper_bits.detach() / area).sum(), error.detach().sum()]
        return list(gradients), torch.stack([loss.detach(), *(share / count for share in shares)])

    def _check(self, log: TextIO, board: SummaryWriter) -> None:
        """Measure the averaged weights on the validation pictures."""
        present = {name: value.detach().clone() for name, value in self.codec.named_parameters()}
        self._put(self.average.values)
        started = time.monotonic()
        figures = self.validation.measure(self.codec)
        self._put(present)
        _say(log, f"validation at {self.pixels / 1e6:.0f} Mpx: {figures} ({time.monotonic() - started:.0f} s)")
        for name, value in figures.scalars().items():
            board.add_scalar(f"validation/{name}", value, self.pixels // 1_000_000)
        with (self.folder / "validation.jsonl").open("a") as file:
            record = {"step": self.step, "megapixels": self.pixels // 1_000_000, **figures.scalars()}
            file.write(json.dumps(record) + "\n")

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, weight in self.codec.named_parameters():
            weight.copy_(values[name])

    def _describe(self) -> str:
        weights = sum(weight.numel() for weight in self.codec.parameters())
        count = f"{len(self.split.training)} + {len(self.split.validation)} photographs"
        return f"{count}, {weights / 1e6:.2f} million weights, process {os.getpid()}"

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True


def start(settings: Settings, folder: Path) -> None:
    """Begin a flat run in a new folder.

    Raises:
        FileExistsError: the folder is there already.
    """
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(settings.values(), indent=1))
    training = Training(settings, folder)
    training.begin()
    training.run()


def resume(folder: Path, threads: int | None = None) -> None:
    """Go on from a run's last checkpoint.

    Raises:
        FileNotFoundError: there is none.
    """
    settings = Settings.read(json.loads((folder / "settings.json").read_text()))
    if threads is not None:
        settings = dataclasses.replace(settings, threads=threads)
    training = Training(settings, folder)
    training.load(last_checkpoint(folder))
    training.run()


def branch(checkpoint: Path, folder: Path, changes: dict[str, Any]) -> None:
    """Begin a run in a new folder from another run's weights, averages and, if it is of the same kind, momenta.

    Args:
        checkpoint: a file, or a run folder for its last one.
        folder: that is made.
        changes: of the other run's settings.

    Raises:
        FileExistsError: the folder is there already.
    """
    path = last_checkpoint(checkpoint) if checkpoint.is_dir() else checkpoint
    settings = dataclasses.replace(Settings.read(read_checkpoint(path)["settings"]), **changes)
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text(json.dumps(settings.values(), indent=1))
    training = Training(settings, folder)
    training.load(path, weights_only=True)
    training.run()


def last_checkpoint(folder: Path) -> Path:
    """Return a run's newest checkpoint.

    Raises:
        FileNotFoundError: there is none.
    """
    found = sorted(folder.glob("checkpoint-*.pt"))
    if not found:
        raise FileNotFoundError(f"{folder} has no checkpoint")
    return found[-1]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, without running any code that the file may hold.

    Raises:
        ValueError: it is of another version.
    """
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint that this version reads")
    return content


class Loaded(NamedTuple):
    """A network for use, with averaged weights.

    `step` is of its last phase; `pixels` are those of all phases.
    """

    codec: PhotoCodec
    settings: Settings
    step: int
    pixels: int


def load_codec(path: Path) -> Loaded:
    """Return the network of a checkpoint, or of a run's last one."""
    content = read_checkpoint(last_checkpoint(path) if path.is_dir() else path)
    settings = Settings.read(content["settings"])
    codec = PhotoCodec(settings.widths, settings.eight_bits)
    codec.load_state_dict({**content["model"], **content["average"]})
    return Loaded(codec.eval().requires_grad_(False), settings, content["step"], content["pixels"])


def write_atomically(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _say(log: TextIO, line: str) -> None:
    log.write(f"{time.strftime('%H:%M:%S')} {line}\n")
