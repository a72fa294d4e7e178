from pathlib import Path

import numpy as np
import pytest

from latentwire import Codec
from latentwire.errors import InvalidCard
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from training.release.republish import main, republish

MODELS = Path(__file__).parents[3] / "models"


def test_a_model_computes_the_same_from_graphs_exported_anew(tmp_path: Path) -> None:
    main([str(MODELS / "photo"), str(tmp_path)])
    before, after = (load_any_card(folder / "photo") for folder in (MODELS, tmp_path))
    assert isinstance(before, AnySizeCard)
    assert isinstance(after, AnySizeCard)
    assert "figures" in before.provenance
    assert "figures" not in after.provenance
    assert (after.entropy, after.tables, after.refinement) == (before.entropy, before.tables, before.refinement)
    ramp = np.linspace(0, 255, 80 * 96).reshape(80, 96, 1).astype(np.uint8)
    pixels = np.concatenate([ramp, ramp[::-1], ramp[:, ::-1]], 2)
    former, latter = (
        Codec.load(folder / "photo").encode(pixels, quality=60, effort=1) for folder in (MODELS, tmp_path)
    )
    assert latter.psnr_db == pytest.approx(former.psnr_db, abs=0.05)
    assert len(latter.bitstream) == pytest.approx(len(former.bitstream), rel=0.02)


def test_a_vector_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidCard, match="vector model"):
        republish(MODELS / "mnist-conv-10", tmp_path)
