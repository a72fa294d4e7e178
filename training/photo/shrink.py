"""The weights of a network -> those of one whose encoder is smaller, to begin training it from.

A receiver's parts are taken over as they are, so an encoder can be trained for a decoder that is there already.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from training.photo.model import PhotoCodec, Widths


def shrink_encoder(weights: Mapping[str, Tensor], before: Widths, after: Widths) -> dict[str, Tensor]:
    """Return weights of widths `after` that come nearest to those of widths `before`.

    Of the residual blocks at an eighth of the size, the last ones stay. Of the inner channels at a quarter of the size,
    those stay whose kernels, of all that leads in times all that leads out, are largest.

    Args:
        weights: by their names in `PhotoCodec`.
        before: widths that they have.
        after: the same, but for `encoder_quarter_inner` and `encoder_blocks`, which may be less.

    Raises:
        ValueError: the widths differ in anything else, or are more.
    """
    same = before._replace(encoder_quarter_inner=after.encoder_quarter_inner, encoder_blocks=after.encoder_blocks)
    dropped, inner = before.encoder_blocks - after.encoder_blocks, after.encoder_quarter_inner
    if same != after or dropped < 0 or inner > before.encoder_quarter_inner:
        raise ValueError("only encoder_quarter_inner and encoder_blocks can be less than in the checkpoint")
    blocks = PhotoCodec.ENCODER_BLOCKS
    kept = {}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        number, _, which = rest.partition(".")
        if part != "encoder" or int(number) < blocks:
            kept[name] = value
        elif int(number) >= blocks + dropped:
            kept[f"encoder.{int(number) - dropped}.{which}"] = value
    leads_in, leads_out = kept["encoder.1.a.weight"], kept["encoder.1.b.weight"]
    size = leads_in.flatten(1).norm(dim=1) * leads_out.transpose(0, 1).flatten(1).norm(dim=1)
    chosen = torch.sort(torch.topk(size, inner).indices).values
    kept["encoder.1.a.weight"], kept["encoder.1.a.bias"] = leads_in[chosen], kept["encoder.1.a.bias"][chosen]
    kept["encoder.1.b.weight"] = leads_out[:, chosen]
    return kept
