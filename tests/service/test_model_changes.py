"""Files of models that change between one start and the next."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire.errors import ModelNotReady, UnusableFolder
from latentwire.model.card import CARD_FILE, DECODER_FILE, ENCODER_FILE
from service.inference.registry import open_registry
from service.settings import Settings
from tests.service.client import OCTETS
from tests.service.launching import LaunchServer, Server, start_in_vain
from tests.tiny_model import publish_tiny_model

Damage = Callable[[Path], None]
DEFAULT = ("--default-model", "tiny")


@pytest.fixture
def two_models(models_dir: Path, tmp_path: Path) -> Path:
    """Two models of the same shapes, for this test alone."""
    shutil.copytree(models_dir, tmp_path / "models")
    return tmp_path / "models"


def cut(file: str, share: float) -> Damage:
    def damage(models: Path) -> None:
        whole = (models / "tiny" / file).read_bytes()
        (models / "tiny" / file).write_bytes(whole[: int(len(whole) * share)])

    return damage


def swapped(*files: str) -> Damage:
    """Give each model what is the other's."""

    def damage(models: Path) -> None:
        for file in files:
            one, other = models / "tiny" / file, models / "other" / file
            content = one.read_bytes()
            one.write_bytes(other.read_bytes())
            other.write_bytes(content)

    return damage


def halves_swapped(models: Path) -> None:
    encoder, decoder = models / "tiny" / ENCODER_FILE, models / "tiny" / DECODER_FILE
    content = encoder.read_bytes()
    encoder.write_bytes(decoder.read_bytes())
    decoder.write_bytes(content)


def another_encoder(models: Path) -> None:
    """One that could be opened, and a card that names it; but not the identity that follows from it."""
    tiny, other = models / "tiny", models / "other"
    shutil.copy(other / ENCODER_FILE, tiny / ENCODER_FILE)
    cards = [json.loads((folder / CARD_FILE).read_bytes()) for folder in (tiny, other)]
    (tiny / CARD_FILE).write_text(json.dumps({**cards[0], "encoder": cards[1]["encoder"]}), encoding="utf-8")


DAMAGES: dict[str, tuple[Damage, str]] = {
    "encoder cut to half": (cut(ENCODER_FILE, 0.5), "encoder.onnx of model 'tiny' has"),
    "encoder cut to nothing": (cut(ENCODER_FILE, 0), "encoder.onnx of model 'tiny' has 0 bytes"),
    "decoder cut": (cut(DECODER_FILE, 0.9), "decoder.onnx of model 'tiny' has"),
    "card cut": (cut(CARD_FILE, 0.5), "card of model 'tiny' is not valid"),
    "card cut to nothing": (cut(CARD_FILE, 0), "card of model 'tiny' is not valid"),
    "encoders swapped": (swapped(ENCODER_FILE), "SHA-256"),
    "decoders swapped": (swapped(DECODER_FILE), "SHA-256"),
    "halves swapped": (halves_swapped, "encoder.onnx of model 'tiny' has"),
    "cards swapped": (swapped(CARD_FILE), "names the model"),
    "models swapped": (swapped(CARD_FILE, ENCODER_FILE, DECODER_FILE), "names the model"),
    "another encoder, named by the card": (another_encoder, "model_id"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGES.values(), ids=DAMAGES)
def test_a_model_whose_files_changed_is_not_served_and_the_other_one_is(
    two_models: Path, tmp_path: Path, damage: Damage, says: str
) -> None:
    publish_tiny_model(two_models, tmp_path / "scratch", "third", seed=2)
    damage(two_models)
    settings = Settings(models_dir=two_models, default_model="tiny")
    registry = open_registry(settings)
    assert says in registry.failures["tiny"]
    assert registry.guard("third").card.name == "third"
    with pytest.raises(ModelNotReady, match=re.escape(registry.failures["tiny"])):
        registry.guard(None)
    with pytest.raises(UnusableFolder, match=re.escape(says)):
        open_registry(settings.model_copy(update={"strict_models": True}))


def test_a_running_server_does_not_mind_and_the_next_one_waits_for_the_right_files(
    launch_server: LaunchServer, models_dir: Path, two_models: Path, png: bytes
) -> None:
    def answers(server: Server) -> list[bytes]:
        bitstream = server.client.post("/encode", content=png, headers={"Accept": OCTETS})
        picture = server.client.post("/decode", content=bitstream.content)
        assert (bitstream.status_code, picture.status_code) == (200, 200)
        return [bitstream.content, picture.content]

    server = launch_server(two_models, *DEFAULT)
    before = answers(server)
    for damage in (swapped(ENCODER_FILE, DECODER_FILE), cut(ENCODER_FILE, 0.5), cut(CARD_FILE, 0)):
        damage(two_models)
        # What runs has read its files at the start.
        assert answers(server) == before
        assert server.client.get("/readyz").status_code == 200
    server.stop()
    start_in_vain(two_models, *DEFAULT, "--strict-models")
    shutil.rmtree(two_models)
    shutil.copytree(models_dir, two_models)
    assert answers(launch_server(two_models, *DEFAULT)) == before
