"""A model card -> the README.md beside it."""

import shlex
from typing import Any

from latentwire.model.card import ModelCard, Quality
from latentwire.model.guard_limits import DoubtLimits, GuardLimits, MeaningRates
from training.recipe import Recipe, load_recipe, make_recipe, recipe_names
from training.release.baselines import baselines_of, warnings_of


def write_readme(card: ModelCard) -> str:
    """Return the card as Markdown."""
    sections = [_head(card)]
    if card.quality:
        sections.append(_figures(card.quality) + _comparison(card))
    if card.guard:
        sections.append(_guard(card.guard))
    sections.append(_code(card))
    if "recipe" in card.provenance:
        sections.append(_making(card.name, card.provenance))
    return "\n".join(sections)


def reproduction_command(recipe: Recipe) -> str:
    """Return the command that trains this recipe again: the project's most similar recipe, and options."""
    bases = [load_recipe(name) for name in recipe_names()]
    base = min(bases, key=lambda base: (base.name != recipe.name, len(_differing(base, recipe))))
    words, values = ["python", "-m", "training", "train", "--recipe", base.name], recipe.options()
    for field in _differing(base, recipe):
        value = values[field]
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words += [f"--{field.replace('_', '-')}", text]
    return shlex.join(words)


def _differing(base: Recipe, recipe: Recipe) -> list[str]:
    before = base.options()
    return [field for field, value in recipe.options().items() if field not in before or before[field] != value]


def _head(card: ModelCard) -> str:
    return f"""# {card.name}

{card.description}

Encodes images of {card.image} as codes of {card.code_size} numbers. Model id `{card.model_id}`.

*Written with `card.json` by `python -m training publish`; do not edit either by hand.*
"""


def _figures(quality: Quality) -> str:
    return f"""## Quality

Measured over {quality.images:,} images of {quality.dataset}, through the real encoder and decoder; pixels in [0, 1].

| | float code | as delivered |
|---|---|---|
| MSE | {quality.float_mse:.6f} | {quality.mse:.6f} |
| RMSE | {quality.float_rmse:.5f} | {quality.rmse:.5f} |
| PSNR | {quality.float_psnr_db:.2f} dB | {quality.psnr_db:.2f} dB |
| ideal code length | | {quality.ideal_bits:.2f} bits |
| payload | | {quality.payload_bytes:.2f} bytes |
| bitstream | | {quality.bitstream_bytes:.2f} bytes, {quality.bpp:.4f} bits per pixel |

"As delivered" means decoded from the quantized code, in 8-bit pixels.
"""


def _comparison(card: ModelCard) -> str:
    baselines = baselines_of(card)
    if baselines is None:
        return ""
    codes = f"{baselines.distinct_codes:,} different codes, with an entropy of {baselines.code_entropy_bits:.2f} bits"
    warnings = "".join(f"\n**{warning[0].upper()}{warning[1:]}.**\n" for warning in warnings_of(card))
    return f"""
For comparison, the mean training image has {baselines.mean_image_psnr_db:.2f} dB, and PCA of as many numbers, fitted to
{baselines.pca_images:,} training images and not quantized, {baselines.pca_psnr_db:.2f} dB. The
{baselines.distinct_images:,} different test images have {codes}.
{warnings}"""


def _guard(guard: GuardLimits) -> str:
    rates = guard.rates
    figures = ""
    if rates:
        rows = [
            (
                f"{rates.images:,} images of {rates.ordinary}",
                rates.false_alarms_by_sender,
                rates.false_alarms_with_decoder,
            ),
            *(
                (f"{kind.images:,} images of {kind.ood_images}", kind.by_sender, kind.with_decoder)
                for kind in rates.caught
            ),
        ]
        table = "\n".join(f"| {name} | {alone:.2%} | {both:.2%} |" for name, alone, both in rows)
        figures = f"""
| called out-of-distribution | by a sender alone | with the decoder |
|---|---|---|
{table}

The first line has images of the model's own kind, so its figures are false alarms.
"""
    return f"""## Guard

An image beyond one of these limits is called out-of-distribution:

| score | limit | |
|---|---|---|
| input deviation | {guard.max_input_deviation:.4g} | {guard.max_input_deviation_alone:.4g} for a sender alone |
| bits | {guard.max_bits:.4g} | ideal code length |
| MSE | {guard.max_mse:.4g} | as delivered |
| reconstruction deviation | {guard.max_reconstruction_deviation:.4g} | as delivered |
{figures}{_doubt(guard.doubt) if guard.doubt else ""}{_meaning(guard.meaning) if guard.meaning else ""}"""


def _doubt(doubt: DoubtLimits) -> str:
    odds = ""
    if doubt.max_class_odds is not None and doubt.classifier is not None:
        odds = (
            f"| class odds | {doubt.max_class_odds:.4g} | by a classifier, wrong for {doubt.classifier.error:.1%} |\n"
        )
    return f"""
A reconstruction beyond one of these limits may show something else than its image. The image then goes by a better
model, or losslessly; the model sends it only if it is named, and says so:

| score of doubt | limit | |
|---|---|---|
| local error | {doubt.max_local_error:.4g} | largest difference of a window |
{odds}"""


def _meaning(rates: MeaningRates) -> str:
    holds = (
        "are within their bounds" if rates.holds else "are not within their bounds, so `target_bytes` and `min_psnr`"
    )
    rest = "." if rates.holds else "\nnever select this model."
    return f"""
### Meaning

{rates.images:,} images of {rates.ordinary} with `on_ood=fallback`, no model named, and better models beside this one.
`python -m benchmarks.meaning` measures it; the figures {holds}{rest}

| | |
|---|---|
| sure changes of class | {rates.sure_changes:.2%} |
| changes of class | {rates.changes:.2%} |
| sent by a better model | {rates.climbed:.2%} |
| sent losslessly | {rates.fallen:.2%} |
| mean payload of the codes, as served | {rates.coded_bytes:.2f}, {rates.served_bytes:.2f} bytes |
| lost marks that are found | {rates.flagged_marks:,} of {rates.vanished_marks:,} |
| invented marks | {rates.invented_marks:,} |
| blends of two images that arrive as another one | {rates.resolved_blends:.2%} of {rates.blends:,} |
"""


def _code(card: ModelCard) -> str:
    rows = "\n".join(
        f"| {index} | {low:.4f} | {step:.4f} | {table.first} to {table.last} |"
        for index, (low, step, table) in enumerate(
            zip(card.quantizer.low[:_SHOWN], card.quantizer.step, card.tables, strict=False)
        )
    )
    more = f"\nand {card.code_size - _SHOWN} more.\n" if card.code_size > _SHOWN else ""
    return f"""## Code

Each number is rounded to evenly spaced levels, and the level's symbol is entropy-coded by its frequency among the
training images. Symbols outside the table may occur and cost more.

| number | level of symbol 0 | step | symbols in the table |
|---|---|---|---|
{rows}
{more}
| file | bytes |
|---|---|
| `encoder.onnx` | {card.encoder.bytes:,} |
| `decoder.onnx` | {card.decoder.bytes:,} |
"""


def _making(name: str, provenance: dict[str, Any]) -> str:
    recipe = make_recipe(provenance["recipe"])
    environment = provenance.get("environment", {})
    packages = ", ".join(f"{package} {version}" for package, version in environment.get("packages", {}).items())
    average = f", averaged weights (decay {recipe.ema_decay})" if recipe.ema_decay else ""
    how = f"{provenance.get('epochs_run')} epochs on {recipe.dataset} with {recipe.optimizer}{average}"
    rmse = provenance.get("validation_rmse", float("nan"))
    revision = environment.get("git_revision")
    licence = f"Licence of the model: {recipe.licence}. " if recipe.licence else ""
    return f"""## How it was made

A {recipe.architecture.kind} autoencoder, trained for {how}; seed {recipe.seed}. The weights are those of the best
epoch, {provenance.get("best_epoch")}, with an RMSE of {rmse:.5f} on the validation images.

{licence}Revision `{revision}`, Python {environment.get("python")}, {packages}. To train it again:

    {reproduction_command(recipe)} --run runs/{name}
    python -m training publish runs/{name} --name {name}
"""


_SHOWN = 64
