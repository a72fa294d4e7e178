"""The network: an encoder, a shallow decoder, a hyperprior, a context of what is decoded already, gains for all rates.

Sizes below are of a picture of height x width pixels, filled up to multiples of 16; h x w = height / 16 x width / 16.

    pixels (3, height, width) -> encoder -> latents y (256, h, w), times the gain of the quality
    y -> hyper encoder -> z (48, h / 4, w / 4, rounded up), rounded and sent first
    z -> hyper decoder -> a mean and a scale for each latent
    symbols = round(y - mean), sent in four passes; those of a pass correct the means and scales of the next ones
    (symbols + mean) times the inverse gain -> decoder -> pixels

Means and scales decide how symbols are coded, so a receiver must find exactly those of the sender. The networks for
them (hyper decoder and context) are plain stacks of convolutions and ReLU, which become integer ones after training.

Sources: hyperprior with means, Minnen et al. 2018 (arXiv:1809.02736); gain vectors, Cui et al. 2021 (arXiv:2003.02012);
checkerboard, He et al. 2021 (arXiv:2103.15306); groups of channels, Minnen and Singh 2020 (arXiv:2007.08739).
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.photo.eight_bits import EightBits
from training.photo.rounding import bounded, in_float32, round_through

LOWEST_LAMBDA = 0.0003
LEVELS = 9
# Weight of the squared error (in grey levels) against bits a pixel, doubled from level to level.
LAMBDAS = tuple(LOWEST_LAMBDA * 2**level for level in range(LEVELS))

HYPER_LIMIT = 127  # of z
TABLES = 64
LOWEST_SCALE, HIGHEST_SCALE = 0.11, 60.0  # of the tables' normal distributions, in quantiser steps
TABLE_STEP = math.log(HIGHEST_SCALE / LOWEST_SCALE) / (TABLES - 1)


class Widths(NamedTuple):
    """Channels of each part, but for two.

    `encoder_kernel` is the rows and columns of the kernels that make latents, `encoder_blocks` the number of residual
    blocks at an eighth of the size.

    Latents are what limits the best quality: 192 principal components of 16 x 16 pixels leave 33 dB of thumbnails and
    40 dB of photographs at full size, 256 leave 36 and 44 dB.
    """

    encoder_quarter: int = 96
    encoder_quarter_inner: int = 96
    encoder_eighth: int = 144
    encoder_blocks: int = 2
    encoder_inner: int = 128
    encoder_kernel: int = 3
    latents: int = 256
    decoder_eighth: int = 120
    decoder_eighth_inner: int = 120
    decoder_quarter: int = 64
    decoder_quarter_inner: int = 64
    hyper_latents: int = 48
    hyper: int = 96
    first_group: int = 64
    context: tuple[int, int, int] = (80, 96, 96)


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size, or divides it by the stride, rounded up."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)


class Residual(nn.Module):
    """x + b(f(a(f(x)))) with 3 x 3 convolutions a and b and leaky ReLU f."""

    def __init__(self, channels: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or channels
        self.a, self.b = convolution(channels, inner), convolution(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        inner: Tensor = self.b(F.leaky_relu(self.a(F.leaky_relu(x, 0.1)), 0.1))
        return x + inner


class Enlarge(nn.Module):
    """A convolution whose channels become pixels: (inputs, h, w) -> (outputs, factor h, factor w)."""

    def __init__(self, inputs: int, outputs: int, factor: int = 2, kernel: int = 3) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs * factor**2, kernel)
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged tensor."""
        return F.pixel_shuffle(self.conv(x), self.factor)


def compress(x: Tensor) -> Tensor:
    """Return sign(x) log(1 + |x|): what the hyper encoder sees, alike at all rates."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


class HyperPrior(nn.Module):
    """The distribution of z: for each channel a mixture of three logistic distributions; after training, a table."""

    def __init__(self, channels: int, components: int = 3) -> None:
        super().__init__()
        shape = (1, channels, components, 1, 1)
        self.mean = nn.Parameter(torch.linspace(-1, 1, components).view(1, 1, -1, 1, 1).repeat(1, channels, 1, 1, 1))
        self.log_scale = nn.Parameter(torch.full(shape, 0.5))
        self.weight = nn.Parameter(torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        """Return the probability of the unit interval around each value of z (batch, channels, h, w)."""
        x = z.unsqueeze(2)
        inverse = torch.exp(-self.log_scale)
        share = torch.sigmoid((x + 0.5 - self.mean) * inverse) - torch.sigmoid((x - 0.5 - self.mean) * inverse)
        return (share * torch.softmax(self.weight, 2)).sum(2).clamp_min(1e-9)


def black_squares(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return (height, width) of 1 where row + column is even, and 0 elsewhere."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    return ((rows + columns) % 2 == 0).float()


def squash_symbols(symbols: Tensor) -> Tensor:
    """Return what the context sees of symbols: sixteenths of sign(s) log2(1 + |s|), and of its magnitude.

    Args:
        symbols: integers (batch, channels, h, w).

    Returns:
        (batch, 2 channels, h, w), multiples of 1/16 in [-7.94, 7.94].
    """
    size = torch.round(16 * torch.log2(1 + torch.abs(symbols))).clamp_max(127) / 16
    return torch.cat([torch.sign(symbols) * size, size], 1)


class ContextPass(nn.Module):
    """One pass's corrections, from the symbols around and from the scales that the hyperprior gives."""

    def __init__(self, symbols: int, scales: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.near = convolution(2 * symbols, hidden, 3)
        self.here = nn.Conv2d(scales, hidden, 1, bias=False)
        self.last = nn.Conv2d(hidden, 2 * outputs, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None  # noqa: S101
        nn.init.zeros_(self.last.bias)
        self.in_integers: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None

    def forward(self, squashed: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """Return corrections of the means and of the scales' quarter steps, each (batch, outputs, h, w).

        Args:
            squashed: symbols, as by `squash_symbols`.
            scales: in quarter steps, over 64.
        """
        if self.in_integers is not None:
            return self.in_integers(squashed, scales)
        mean, scale = self.last(F.relu(self.near(squashed) + self.here(scales))).float().chunk(2, 1)
        return mean, scale


class Context(nn.Module):
    """Corrections of means and scales by symbols that are decoded already.

    Latents are sent in four passes: the first group's black squares, its white ones, the other channels' black squares,
    their white ones. The first pass stands on the hyperprior alone. Gradients stop at what a pass looks at, so it can
    be trained together with the rest or afterwards, and begins by correcting nothing.
    """

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        first, latents, hidden = widths.first_group, widths.latents, widths.context
        self.first_group = first
        self.white = ContextPass(first, first, hidden[0], first)
        self.others_black = ContextPass(first, latents, hidden[1], latents - first)
        self.others_white = ContextPass(latents, latents, hidden[2], latents - first)

    def forward(self, latents: Tensor, mean: Tensor, quarters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means and scales that symbols are coded with.

        Args:
            latents: after the gain, (batch, latents, h, w).
            mean: the hyperprior's, in quantiser steps, of the same shape.
            quarters: the hyperprior's scales in quarter steps of the tables, 0 to 255, of the same shape.

        Returns:
            The same, corrected in each pass by the symbols of those before it.
        """
        first = self.first_group
        values, scales = latents.detach(), quarters.detach() / 64
        black = black_squares(latents.shape[2], latents.shape[3], latents.device)
        white = 1 - black

        symbols = squash_symbols(torch.round(values[:, :first] - mean[:, :first].detach()))
        mean_more, quarters_more = self.white(symbols * black, scales[:, :first])
        mean_first = mean[:, :first] + mean_more * white
        quarters_first = quarters[:, :first] + quarters_more * white

        symbols = squash_symbols(torch.round(values[:, :first] - mean_first.detach()))
        mean_black, quarters_black = self.others_black(symbols, scales)
        mean_others = mean[:, first:] + mean_black
        others = squash_symbols(torch.round(values[:, first:] - mean_others.detach()))
        mean_white, quarters_white = self.others_white(torch.cat([symbols, others * black], 1), scales)
        mean_others = torch.where(black.bool(), mean_others, mean[:, first:] + mean_white)
        quarters_others = quarters[:, first:] + torch.where(black.bool(), quarters_black, quarters_white)
        corrected = torch.cat([quarters_first, quarters_others], 1)
        return torch.cat([mean_first, mean_others], 1), bounded(corrected, 0, 4 * TABLES - 1)


class Sent(NamedTuple):
    """What a sender codes, and what a receiver decodes from it.

    Attributes:
        z: integers (batch, hyper latents, h / 4, w / 4, rounded up).
        symbols: integers (batch, latents, h, w).
        tables: the index of the table that codes each symbol, of the same shape.
        latents: for the decoder, of the same shape.
    """

    z: Tensor
    symbols: Tensor
    tables: Tensor
    latents: Tensor


class Coded(NamedTuple):
    """What a pass through the network gives.

    Attributes:
        pixels: (batch, 3, height, width), not clipped.
        latent_bits: (batch,) of the symbols.
        hyper_bits: (batch,) of z.
    """

    pixels: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor


class PhotoCodec(nn.Module):
    """All parts, and how they are trained together."""

    SENDERS_PARTS = ("encoder", "encoder_last", "hyper_encoder")
    DECODER_PARTS = ("decoder_first", "decoder")
    ENCODER_BLOCKS = 3  # the place in `encoder` from where the residual blocks at an eighth of the size stand

    def __init__(self, widths: Widths | None = None, eight_bits: bool = False) -> None:
        """Make a network; with `eight_bits`, encoder and decoder compute with integers of 8 bits."""
        super().__init__()
        self.widths = widths = widths or Widths()
        self.eight_bits = EightBits(widths) if eight_bits else None
        quarter, eighth, latents = widths.encoder_quarter, widths.encoder_eighth, widths.latents
        self.encoder = nn.Sequential(
            nn.Conv2d(3, quarter, 8, 4, 2),
            Residual(quarter, widths.encoder_quarter_inner),
            convolution(quarter, eighth, 5, 2),
            *(Residual(eighth) for _ in range(widths.encoder_blocks)),
        )
        self.encoder_last = nn.Sequential(
            convolution(eighth, latents, widths.encoder_kernel, 2), Residual(latents, widths.encoder_inner)
        )
        self.decoder_first = Enlarge(latents, widths.decoder_eighth)
        self.decoder = nn.Sequential(
            Residual(widths.decoder_eighth, widths.decoder_eighth_inner),
            Enlarge(widths.decoder_eighth, widths.decoder_quarter),
            Residual(widths.decoder_quarter, widths.decoder_quarter_inner),
            Enlarge(widths.decoder_quarter, 3, 4),
        )
        self.hyper_encoder = nn.Sequential(
            convolution(latents, widths.hyper),
            nn.ReLU(),
            convolution(widths.hyper, widths.hyper, 5, 2),
            nn.ReLU(),
            convolution(widths.hyper, widths.hyper_latents, 5, 2),
        )
        self.hyper_decoder = nn.Sequential(
            Enlarge(widths.hyper_latents, widths.hyper),
            nn.ReLU(),
            Enlarge(widths.hyper, widths.hyper),
            nn.ReLU(),
            convolution(widths.hyper, 2 * latents),
        )
        self.hyper_prior = HyperPrior(widths.hyper_latents)
        self.context = Context(widths)
        # Under autocast to bfloat16, the last layers of encoder and hyperprior lose a part of large values; this keeps
        # them and the decoder's first layer in float32, at a quarter of the speed of training.
        self.exact_ends = False
        self.hyper_in_integers: Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]] | None = None
        steps = torch.tensor([0.5 * math.log(weight / LAMBDAS[LEVELS // 2]) for weight in LAMBDAS])
        self.log_gain = nn.Parameter(steps[:, None].repeat(1, latents))
        self.log_inverse = nn.Parameter(-steps[:, None].repeat(1, latents))

    def _ends(self, x: Tensor) -> AbstractContextManager[None]:
        """Return where the parts that means, scales and symbols come from are computed: with autocast, or never."""
        return in_float32(x) if self.exact_ends else nullcontext()

    def gains(self, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logarithms of gain and inverse gain, each (batch, latents, 1, 1), between levels linearly.

        Args:
            quality: (batch,) in [0, LEVELS - 1].
        """
        below = quality.floor().long().clamp(0, LEVELS - 2)
        share = (quality - below)[:, None]
        gain = self.log_gain[below] * (1 - share) + self.log_gain[below + 1] * share
        inverse = self.log_inverse[below] * (1 - share) + self.log_inverse[below + 1] * share
        return gain[:, :, None, None], inverse[:, :, None, None]

    def analyse(self, pixels: Tensor) -> Tensor:
        """Return latents (batch, latents, h, w) before the gain, of pixels in [0, 1]."""
        if self.eight_bits is not None:
            return self.eight_bits.analyse(self, pixels)
        features = self.encoder(pixels - 0.5)
        with self._ends(pixels):
            latents: Tensor = self.encoder_last(features.float() if self.exact_ends else features)
        return latents.float()

    def synthesise(self, latents: Tensor) -> Tensor:
        """Return pixels, not clipped, of latents (batch, latents, h, w) after the inverse gain."""
        if self.eight_bits is not None:
            return self.eight_bits.synthesise(self, latents)
        with self._ends(latents):
            features = self.decoder_first(latents)
        pixels: Tensor = self.decoder(features)
        return pixels.float() + 0.5

    def hyper_analyse(self, latents: Tensor) -> Tensor:
        """Return z before rounding, (batch, hyper latents, h / 4, w / 4), of latents after the gain."""
        with in_float32(latents):
            z: Tensor = self.hyper_encoder(compress(latents))
        return z

    def hyper_synthesise(self, z: Tensor, log_gain: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Return means in quantiser steps and scales in quarter steps of the tables (0 to 255), for height x width.

        Quarter step 4 k is the middle of table k.
        """
        if self.hyper_in_integers is not None:
            return self.hyper_in_integers(z, log_gain, height, width)
        with in_float32(z):
            mean, scale = self.hyper_decoder(z)[:, :, :height, :width].chunk(2, 1)
        quarters = (scale + log_gain - math.log(LOWEST_SCALE)) * (4 / TABLE_STEP)
        return mean * torch.exp(log_gain), bounded(quarters, 0, 4 * TABLES - 1)

    @torch.no_grad()
    def send(self, analysed: Tensor, quality: Tensor, context: bool = True) -> Sent:
        """Return what is coded of pictures.

        Args:
            analysed: latents before the gain, of `analyse`.
            quality: (batch,) in [0, LEVELS - 1].
            context: correct by what is decoded already.
        """
        log_gain, log_inverse = self.gains(quality)
        latents = analysed * torch.exp(log_gain)
        z = torch.round(self.hyper_analyse(latents).clamp(-HYPER_LIMIT, HYPER_LIMIT))
        mean, quarters = self.hyper_synthesise(z, log_gain, latents.shape[2], latents.shape[3])
        if context:
            mean, quarters = self.context(latents, mean, quarters)
        symbols = torch.round(latents - mean)
        decoded = (symbols + mean) * torch.exp(log_inverse)
        return Sent(z.long(), symbols.long(), table_index(quarters), decoded)

    def forward(
        self, pixels: Tensor, quality: Tensor, noise: torch.Generator | None = None, context: bool = True
    ) -> Coded:
        """Code and decode pictures.

        Args:
            pixels: (batch, 3, height, width) in [0, 1], sides multiples of 16.
            quality: (batch,) in [0, LEVELS - 1].
            noise: count the bits of values with uniform noise of it, as in training, in place of rounded ones.
            context: correct by what is decoded already.
        """
        log_gain, log_inverse = self.gains(quality)
        latents = self.analyse(pixels) * torch.exp(log_gain)
        z = self.hyper_analyse(latents)
        rounded_z = round_through(bounded(z, -HYPER_LIMIT, HYPER_LIMIT))
        counted_z = rounded_z if noise is None else z + torch.rand(z.shape, generator=noise, device=z.device) - 0.5
        hyper_bits = -torch.log2(self.hyper_prior(counted_z)).sum((1, 2, 3))
        mean, quarters = self.hyper_synthesise(rounded_z, log_gain, latents.shape[2], latents.shape[3])
        if context:
            with self._ends(pixels):
                mean, quarters = self.context(latents, mean, quarters)
        rest = latents - mean
        symbols = round_through(rest)
        counted = symbols if noise is None else rest + torch.rand(rest.shape, generator=noise, device=z.device) - 0.5
        latent_bits = symbol_bits(counted, quarters).sum((1, 2, 3))
        decoded = (symbols + mean) * torch.exp(log_inverse)
        return Coded(self.synthesise(decoded), latent_bits, hyper_bits)


def table_index(quarters: Tensor) -> Tensor:
    """Return the index of the table nearest to scales in quarter steps."""
    index: Tensor = torch.floor((torch.round(quarters) + 2) / 4).clamp(0, TABLES - 1).long()
    return index


def symbol_bits(symbols: Tensor, quarters: Tensor) -> Tensor:
    """Return the bits of each symbol under a normal distribution of its scale, in quarter steps of the tables."""
    scale = LOWEST_SCALE * torch.exp(quarters * (TABLE_STEP / 4))
    size = torch.abs(symbols)
    share = torch.special.ndtr((0.5 - size) / scale) - torch.special.ndtr((-0.5 - size) / scale)
    return -torch.log2(share.clamp_min(1e-9))


def thousand_macs(codec: PhotoCodec) -> dict[str, float]:
    """Return the multiplications of each part, in thousands a pixel of the picture."""
    side = 256
    latents, small = side // 16, side // 64
    widths = codec.widths
    symbols = torch.zeros(1, widths.latents, latents, latents)
    z = torch.zeros(1, widths.hyper_latents, small, small)
    parts: dict[str, tuple[list[nn.Module], Any]] = {
        "encoder": ([codec.encoder, codec.encoder_last], lambda: codec.analyse(torch.zeros(1, 3, side, side))),
        "decoder": ([codec.decoder, codec.decoder_first], lambda: codec.synthesise(symbols)),
        "hyper_encoder": ([codec.hyper_encoder], lambda: codec.hyper_encoder(symbols)),
        "hyper_decoder": ([codec.hyper_decoder], lambda: codec.hyper_decoder(z)),
        "context": ([codec.context], lambda: codec.context(symbols, symbols, symbols)),
    }
    counts = {}
    for name, (modules, call) in parts.items():
        total = [0]

        def count(module: nn.Module, _: Any, output: Tensor, total: list[int] = total) -> None:
            weight = module.weight
            assert isinstance(weight, Tensor)  # noqa: S101
            total[0] += output[0].numel() * weight[0].numel()

        hooks = [
            layer.register_forward_hook(count)
            for module in modules
            for layer in module.modules()
            if isinstance(layer, nn.Conv2d)
        ]
        with torch.no_grad():
            call()
        for hook in hooks:
            hook.remove()
        counts[name] = round(total[0] / side**2 / 1000, 2)
    return counts
