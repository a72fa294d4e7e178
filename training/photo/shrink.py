"""The weights of a network -> those of a smaller one, to begin training it from."""

from collections.abc import Mapping

import torch
from torch import Tensor

from training.photo.model import PhotoCodec, Widths

# Where the inner channels of a residual block can be fewer: the name of the width, and that of the block.
_INNER = {
    "encoder_quarter_inner": "encoder.1",
    "decoder_eighth_inner": "decoder.0",
    "decoder_quarter_inner": "decoder.2",
}
SHRINKABLE = ("encoder_blocks", *_INNER)


def shrink(weights: Mapping[str, Tensor], before: Widths, after: Widths) -> dict[str, Tensor]:
    """Return weights of widths `after` that come near to those of widths `before`.

    Of the encoder's blocks at an eighth of the size, the last ones stay. Of a block's inner channels, those stay whose
    kernels are largest: the norm of what leads in times the norm of what leads out.

    Args:
        weights: by their names in `PhotoCodec`.
        before: widths that they have.
        after: the same, but for those of `SHRINKABLE`, which may be less.

    Raises:
        ValueError: the widths differ in anything else, or are more.
    """
    same = before._replace(**{name: getattr(after, name) for name in SHRINKABLE})
    if same != after or any(getattr(after, name) > getattr(before, name) for name in SHRINKABLE):
        raise ValueError(f"only {', '.join(SHRINKABLE)} can be less than those of the checkpoint, and nothing more")
    kept = _drop_blocks(weights, before.encoder_blocks - after.encoder_blocks)
    for width, block in _INNER.items():
        leads_in, leads_out = kept[f"{block}.a.weight"], kept[f"{block}.b.weight"]
        size = leads_in.flatten(1).norm(dim=1) * leads_out.transpose(0, 1).flatten(1).norm(dim=1)
        chosen = torch.sort(torch.topk(size, getattr(after, width)).indices).values
        kept[f"{block}.a.weight"], kept[f"{block}.b.weight"] = leads_in[chosen], leads_out[:, chosen]
        kept[f"{block}.a.bias"] = kept[f"{block}.a.bias"][chosen]
    return kept


def _drop_blocks(weights: Mapping[str, Tensor], dropped: int) -> dict[str, Tensor]:
    first, kept = PhotoCodec.ENCODER_BLOCKS, {}
    for name, value in weights.items():
        part, _, inside = name.partition(".")
        number, _, rest = inside.partition(".")
        if part != "encoder" or int(number) < first:
            kept[name] = value
        elif int(number) >= first + dropped:
            kept[f"encoder.{int(number) - dropped}.{rest}"] = value
    return kept
