import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from latentwire import Codec
from latentwire.any_size.encoder import AnySizeEncoder
from latentwire.any_size.part_reader import read_part
from latentwire.errors import InvalidCard
from latentwire.format.any_size import parts_of, read_payload
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from tests.training.photo.conftest import SMALL
from training.photo.crops import Batch
from training.photo.evaluate import to_tensor
from training.photo.export import EXPORT_FILE, export
from training.photo.integers import to_integers
from training.photo.model import LEVELS, PhotoCodec
from training.photo.refiner import refinement_of
from training.photo.tables import hyper_tables, normal_tables
from training.release import any_size_model
from training.release.any_size_model import add_figures, main, publish
from training.release.model_dir import find_vector_models

PIXELS = np.random.default_rng(5).integers(0, 256, (7, 9, 3), np.uint8).repeat(16, 0).repeat(16, 1)[:100, :130]


@pytest.fixture(scope="module")
def codec() -> PhotoCodec:
    torch.manual_seed(0)
    codec = PhotoCodec(SMALL)
    with torch.no_grad():
        for weight in codec.context.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        for gain, inverse in zip(codec.log_gain, codec.log_inverse, strict=True):
            gain += 5 + 0.2 * torch.randn_like(gain)
            inverse -= 5
    return codec.eval()


@pytest.fixture(scope="module")
def exported(codec: PhotoCodec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m training.photo export` writes, with the integers attached to the network."""
    folder = tmp_path_factory.mktemp("exported")
    entropy = to_integers(codec, to_tensor(PIXELS), torch.tensor([3.0]))
    report = export(codec, entropy, folder)
    for name, tables in {"tables": normal_tables(), "hyper_tables": hyper_tables(codec.hyper_prior)}.items():
        report[name] = [{"first": table.first, "frequencies": table.frequencies.tolist()} for table in tables]
    pixels = to_tensor(PIXELS)
    batch = Batch(pixels, torch.ones_like(pixels[:, :1]), torch.tensor([3.0]))
    report["refinement"] = refinement_of(codec, batch)
    (folder / EXPORT_FILE).write_text(json.dumps(report))
    return folder


def test_the_library_sends_what_the_network_does(
    codec: PhotoCodec, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(any_size_model, "SKIPPED_SHARE", 2.0)
    folder = publish(exported, tmp_path, "photo")
    card = load_any_card(folder)
    assert isinstance(card, AnySizeCard)
    encoder = AnySizeEncoder.open(folder, card)
    assert encoder.entropy.tables.skip_below == 0
    for level in range(LEVELS - 1):
        quality = 32 * level
        with torch.no_grad():
            sent = codec.send(codec.analyse(to_tensor(PIXELS)), torch.tensor([float(level)]))
        header, (body,), _ = read_payload(encoder.encode(PIXELS, quality).payload)
        (part,) = parts_of(header)
        gain, inverse = encoder.entropy.tables.gains(quality)
        latents = read_part(encoder.entropy, body or b"", part, quality) * inverse[:, None, None]
        assert sent.symbols.abs().max() > 2
        # Gains are written down in parts of a quarter step, so a scale can be one off, and a mean with it.
        steps = np.abs(latents - sent.latents[0].numpy()) * gain[:, None, None]
        assert np.mean(steps < 1e-3) > 0.9
        assert steps.max() < 1


def test_a_published_export_is_a_codec(exported: Path, tmp_path: Path) -> None:
    main([str(exported), str(tmp_path / "models"), "photo", "--description", "A small network."])
    codec = Codec.load(tmp_path / "models" / "photo")
    assert codec.card.description == "A small network."
    assert codec.decode(codec.encode(PIXELS, quality=90, effort=2).bitstream).shape == PIXELS.shape


def test_figures_are_added_to_card_and_readme(exported: Path, tmp_path: Path, tiny_model: Path) -> None:
    folder = publish(exported, tmp_path, "photo", provenance={"licence": "MIT"})
    before = load_any_card(folder)
    points = [{"quality": 50, "bytes": 1234, "bpp": 0.5, "psnr_db": 31.25}]
    figures = {
        "bd_rate": {"kodak": {"JPEG": -40.06, "AVIF": None}},
        "points": {"kodak": points, "text": points},
        "lossless_webp_bytes": {"text": 999},
    }
    add_figures(folder, figures)
    card = load_any_card(folder)
    assert card.model_id == before.model_id
    assert card.provenance == {"licence": "MIT", "figures": figures}
    readme = (folder / "README.md").read_text()
    for part in (
        "| kodak | \N{MINUS SIGN}40.1 % | – |",
        "| 50 | 1,234 | 0.500 | 31.25 |",
        "Text of 384 × 256 pixels: 1,234 bytes",
        " 999 ",
    ):
        assert part in readme
    assert find_vector_models(tmp_path) == {}
    shutil.copytree(tiny_model, tmp_path / tiny_model.name)
    assert list(find_vector_models(tmp_path)) == [tmp_path / tiny_model.name]
    with pytest.raises(InvalidCard, match="vector model"):
        add_figures(tmp_path / tiny_model.name, figures)


def test_publishing_again_replaces_the_model(exported: Path, tmp_path: Path) -> None:
    first = publish(exported, tmp_path, "photo", description="first")
    assert publish(exported, tmp_path, "photo", description="second") == first
    assert load_any_card(first).description == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["photo"]
