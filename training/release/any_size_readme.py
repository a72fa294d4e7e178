"""The card of a model for images of any size -> the README.md beside it."""

from collections.abc import Mapping
from typing import Any

from latentwire.model.any_size_card import AnySizeCard

# Pictures of which a model for photographs is not made.
_DRAWN = ("drawings", "text")


def write_any_size_readme(card: AnySizeCard) -> str:
    """Return the card as Markdown."""
    origin = card.provenance
    sections = [_head(card)]
    if figures := origin.get("figures"):
        sections.append(_figures(figures))
    sections.append(_limits(origin.get("figures") or {}))
    sections.append(_files(card))
    if "training" in origin:
        sections.append(_making(card.name, origin))
    return "\n".join(sections)


def _head(card: AnySizeCard) -> str:
    return f"""# {card.name}

{card.description}

Encodes grey and RGB images of 1 to 65,535 pixels on a side, at a quality of 0 to 100. Model id `{card.model_id}`.

*Written with `card.json` by `python -m training.release.any_size_model`, and its figures by
`python -m benchmarks.photo`; do not edit either by hand.*
"""


def _figures(figures: Mapping[str, Any]) -> str:
    rates = figures["bd_rate"]
    codecs = list(dict.fromkeys(codec for row in rates.values() for codec in row))
    table = "\n".join(
        f"| {name} | {' | '.join(_percent(row.get(codec)) for codec in codecs)} |" for name, row in rates.items()
    )
    points = "\n".join(
        f"| {point['quality']:g} | {point['bytes']:,.0f} | {point['bpp']:.3f} | {point['psnr_db']:.2f} |"
        for point in figures["points"].get("kodak", [])
    )
    of_kodak = f"""
Means of the 24 Kodak pictures, 768 × 512:

| quality | bytes | bits a pixel | PSNR, dB |
|---|---|---|---|
{points}
"""
    return f"""## Quality

Bytes against other codecs at the same mean PSNR (BD-rate), headers included; below 0, the model needs fewer:

| pictures | {" | ".join(codecs)} |
|---|{"---|" * len(codecs)}
{table}
{of_kodak if points else ""}"""


def _limits(figures: Mapping[str, Any]) -> str:
    measured = ""
    for name in _DRAWN:
        points, lossless = figures.get("points", {}).get(name), figures.get("lossless_webp_bytes", {}).get(name)
        if points and lossless:
            best = points[-1]
            measured += (
                f"- {name.capitalize()} of 384 × 256 pixels: {best['bytes']:,.0f} bytes at {best['psnr_db']:.1f} dB, "
                f"the highest quality; a lossless WebP file has {lossless:,.0f} bytes.\n"
            )
    return f"""## What it is bad at

It is trained on photographs for the squared error. Drawings, screenshots and text are blurred at edges, for more bytes
than other codecs need. Default settings send them losslessly where that takes no more bytes.

At low qualities, textures such as grass and hair become smooth, small faces and letters unreadable, thin lines vanish,
and flat areas get faint blotches of colour. A reconstruction is no evidence of details that the bytes cannot hold.
{measured and f"{chr(10)}{measured}"}"""


def _files(card: AnySizeCard) -> str:
    files = {"encoder.onnx": card.encoder, "decoder.onnx": card.decoder, "entropy.onnx": card.entropy}
    files["tables.json"] = card.tables
    if card.refinement is not None:
        files["refiner.onnx"] = card.refinement.graph
    rows = "\n".join(f"| `{name}` | {file.bytes:,} |" for name, file in files.items())
    return f"""## Files

All values of `entropy.onnx` are integers, the same on every machine; no sum exceeds {card.exactness.worst_sum:,} in
magnitude.

| file | bytes |
|---|---|
{rows}
"""


def _making(name: str, origin: Mapping[str, Any]) -> str:
    training, data, environment = origin["training"], origin["data"], origin.get("environment", {})
    packages = ", ".join(f"{package} {version}" for package, version in environment.get("packages", {}).items())
    sources = "\n".join(f"| {row['source']} | {row['pictures']} | {row['licence']} |" for row in data["sources"])
    table = f"""
| source | pictures | licence as stated there |
|---|---|---|
{sources}
"""
    made = f"Revision `{environment.get('git_revision')}`, Python {environment.get('python')}, {packages}."
    return f"""## How it was made

Trained on {training["megapixels"]:,} megapixels of crops, at scales of 0.1 to 1, of {data["pictures"]:,} openly
licensed photographs; {data["validation_pictures"]:,} others, chosen by picture, only measured. The weights are those of
step {training["last_phase_steps"]:,} of the last phase ({training["phase"]}), averaged.
{_bits(training)} No picture is in the files.

Licence of the model: {origin["licence"]}. {made}

To train such a model:

    python -m training.photo train runs/flat --data photos/train
    python -m training.photo cooldown runs/flat runs/{name}
{_last_commands(name, training)}    python -m training.release.any_size_model exported models {name}
{sources and table}"""


def _bits(training: Mapping[str, Any]) -> str:
    if training.get("eight_bits"):
        when = f", {training['main_path']}" if "main_path" in training else ""
        return (
            "Weights and activations of the encoder and of the decoder's residual branches have 8 bits and are trained "
            "so, but for weights of 16 bits that make the latents. Those of the decoder's main path have 8 bits around "
            f"the middle of kernels{when}; those of the entropy model are rounded to 8 bits."
        )
    return "Those of encoder and decoder are rounded to 16 bits, those of the entropy model to 8."


def _last_commands(name: str, training: Mapping[str, Any]) -> str:
    export = "    python -m training.photo export {} {} --data photos/train"
    if not training.get("eight_bits"):
        return export.format(f"runs/{name}", "exported") + "\n"
    commands = [
        export.format(f"runs/{name}", "float"),
        f"    python -m training.photo eight-bits runs/{name} runs/{name}-8",
        export.format(f"runs/{name}-8", "exported") + " --entropy float",
    ]
    return "\n".join(commands) + "\n"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f} %".replace("-", "\N{MINUS SIGN}")
