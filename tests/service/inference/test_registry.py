import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from latentwire.errors import InvalidKeyFile, ModelMismatch, ModelNotReady, UnknownModel, UnusableFolder
from latentwire.model.card import CARD_FILE
from latentwire.model.signature import SIGNATURE_FILE
from service.inference.registry import open_registry
from service.settings import Settings
from tests.tiny_model import publish_tiny_model


@pytest.fixture
def settings(own_models_dir: Path) -> Settings:
    return Settings(models_dir=own_models_dir)


def test_a_role_opens_only_its_own_components(settings: Settings) -> None:
    both = open_registry(settings)
    assert both.encoders is not None
    assert both.decoders is both.verifiers is not None
    for role, other_file in (("sender", "decoder.onnx"), ("receiver", "encoder.onnx")):
        path = settings.models_dir / "tiny" / other_file
        graph = path.read_bytes()
        path.unlink()
        registry = open_registry(settings.model_copy(update={"role": role}))
        assert (registry.encoders is not None) == (role == "sender")
        assert (registry.decoders is not None) == (role == "receiver")
        assert registry.verifiers is None
        assert registry.check_golden() == {}
        path.write_bytes(graph)


def damage_decoder(models: Path) -> None:
    path = models / "tiny" / "decoder.onnx"
    path.write_bytes(bytes(path.stat().st_size))


def forbid(models: Path) -> None:
    # As root may read everything, a loop of symlinks stands for what may not be read.
    shutil.rmtree(models / "tiny")
    (models / "tiny").mkdir()
    (models / "tiny" / CARD_FILE).symlink_to(CARD_FILE)


def leave_backup(models: Path) -> None:
    shutil.copytree(models / "tiny", models / "tiny.bak")


def rename_backup(models: Path) -> None:
    leave_backup(models)
    path = models / "tiny.bak" / CARD_FILE
    path.write_text(path.read_text().replace('"tiny"', '"tiny.bak"'))


def lose_card(models: Path) -> None:
    (models / "tiny" / CARD_FILE).unlink()


def rename_to_bytes(models: Path) -> None:
    (models / "tiny").rename(models / os.fsdecode(b"tiny\xff"))


def lose_target(models: Path) -> None:
    shutil.rmtree(models / "tiny")
    (models / "tiny").symlink_to("gone")


# What happens to the model `tiny`, the models that cannot be used then, and what is said of the last of them.
DAMAGES: dict[str, tuple[Callable[[Path], None], list[str], str]] = {
    "graph damaged": (damage_decoder, ["tiny"], "decoder.onnx of model 'tiny' does not match the SHA-256"),
    "cannot be read": (forbid, ["tiny"], "model 'tiny' has no readable card.json: Too many levels of symbolic links"),
    "backup": (leave_backup, ["tiny.bak"], "the card in folder 'tiny.bak' names the model 'tiny'"),
    "renamed backup": (rename_backup, ["tiny.bak"], "the models 'tiny' and 'tiny.bak' have the same fingerprint"),
    "card missing": (lose_card, ["tiny"], "model 'tiny' has no readable card.json: No such file"),
    "name is no text": (rename_to_bytes, ["tiny\\udcff"], "the card in folder 'tiny\\udcff' names the model 'tiny'"),
    "target missing": (lose_target, ["tiny"], "model 'tiny' has no readable card.json: No such file"),
}


@pytest.mark.parametrize(("damage", "unusable", "says"), DAMAGES.values(), ids=DAMAGES)
def test_a_model_that_cannot_be_used_costs_itself_alone(
    settings: Settings, tmp_path: Path, damage: Callable[[Path], None], unusable: list[str], says: str
) -> None:
    publish_tiny_model(settings.models_dir, tmp_path / "scratch", "other", seed=1)
    damage(settings.models_dir)
    registry = open_registry(settings.model_copy(update={"default_model": "other"}))
    assert list(registry.failures) == unusable
    assert says in registry.failures[unusable[-1]]
    assert registry.guard(None).card.name == "other"
    with pytest.raises(ModelNotReady, match=re.escape(says)):
        registry.guard(unusable[-1])
    assert registry.check_golden() == registry.failures
    with pytest.raises(UnusableFolder, match=re.escape(says)):
        open_registry(settings.model_copy(update={"strict_models": True, "default_model": "other"}))


def test_a_folder_that_can_be_no_model_is_passed_over(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lost+found", "$RECYCLE.BIN", ".git"):
        (settings.models_dir / name).mkdir()
    exists = Path.exists

    def refused(path: Path) -> bool:
        if path.parent.parent == settings.models_dir and path.parent.name != "tiny":
            raise PermissionError(errno.EACCES, "Permission denied")
        return exists(path)

    monkeypatch.setattr(Path, "exists", refused)
    registry = open_registry(settings.model_copy(update={"strict_models": True}))
    assert list(registry.cards) == ["tiny"]


def test_symlinks_are_followed_out_of_the_folder(settings: Settings, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for path in (settings.models_dir / "tiny").iterdir():
        path.rename(blobs / path.name)
        path.symlink_to(blobs / path.name)
    (settings.models_dir / "tiny").rename(tmp_path / "tiny")
    (settings.models_dir / "tiny").symlink_to(tmp_path / "tiny")
    assert open_registry(settings).failures == {}
    (blobs / "decoder.onnx").write_bytes(b"x")
    with pytest.raises(UnusableFolder, match=r"decoder.onnx of model 'tiny' has 1 bytes"):
        open_registry(settings)


def test_the_default_is_the_one_that_is_set_else_the_folder_s_else_the_only_usable_one(
    settings: Settings, tmp_path: Path
) -> None:
    assert open_registry(settings).default == "tiny"
    shutil.copytree(settings.models_dir / "tiny", settings.models_dir / "tiny.bak")
    assert open_registry(settings).default == "tiny"
    publish_tiny_model(settings.models_dir, tmp_path / "scratch", "other", seed=1)
    with pytest.raises(UnusableFolder, match=r"no default; write its name into '.*default-model.txt'"):
        open_registry(settings)
    named = settings.models_dir / "default-model.txt"
    named.write_text("other\n")
    assert open_registry(settings).default == "other"
    named.write_bytes(b"\xef\xbb\xbfother\r\n")
    assert open_registry(settings).default == "other"
    assert open_registry(settings.model_copy(update={"default_model": "tiny"})).default == "tiny"
    named.write_text("../other")
    with pytest.raises(UnusableFolder, match=r"the default model '../other' is not in"):
        open_registry(settings)


def test_a_default_that_cannot_be_used_leaves_the_others_to_those_who_name_them(
    settings: Settings, tmp_path: Path
) -> None:
    publish_tiny_model(settings.models_dir, tmp_path / "scratch", "other", seed=1)
    damage_decoder(settings.models_dir)
    registry = open_registry(settings.model_copy(update={"default_model": "tiny"}))
    assert registry.guard("other").card.name == "other"
    assert registry.decoders is not None
    for ask in (registry.ladder, lambda: registry.guard(None), lambda: registry.card("tiny")):
        with pytest.raises(ModelNotReady, match=r"decoder.onnx of model 'tiny'"):
            ask()
    with pytest.raises(ModelNotReady, match=r"decoder.onnx of model 'tiny'"):
        registry.decoders.by_name(None)


def test_unknown_names_and_fingerprints_are_refused_with_the_known_ones(settings: Settings) -> None:
    registry = open_registry(settings)
    assert registry.decoders is not None
    with pytest.raises(UnknownModel, match="no model is called 'huge'; choose from tiny"):
        registry.decoders.by_name("huge")
    with pytest.raises(UnknownModel, match="no model is called 'huge'"):
        registry.guard("huge")
    fingerprint = registry.cards["tiny"].fingerprint
    assert registry.decoders.by_fingerprint(fingerprint).card.name == "tiny"
    with pytest.raises(ModelMismatch, match=rf"00000000, .*loaded are tiny \({fingerprint.hex()}\)"):
        registry.decoders.by_fingerprint(bytes(4))


def test_where_signed_models_are_required_no_other_model_is_used(settings: Settings, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    keys = tmp_path / "keys.pem"
    keys.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    publish_tiny_model(settings.models_dir, tmp_path / "scratch", "unsigned", seed=7)
    tiny = settings.models_dir / "tiny"
    (tiny / SIGNATURE_FILE).write_bytes(key.sign((tiny / CARD_FILE).read_bytes()))
    required = settings.model_copy(
        update={"require_signed_models": True, "model_keys_file": keys, "default_model": "tiny"}
    )
    for role in ("both", "sender", "receiver"):
        registry = open_registry(required.model_copy(update={"role": role}))
        assert list(registry.cards) == ["tiny"]
        assert list(registry.failures) == ["unsigned"]
    both = open_registry(required.model_copy(update={"require_signed_models": False}))
    assert (list(both.cards), both.failures) == (["tiny", "unsigned"], {})
    (tiny / SIGNATURE_FILE).unlink()
    with pytest.raises(UnusableFolder, match="'tiny' is not signed"):
        open_registry(required)
    with pytest.raises(InvalidKeyFile, match="set model_keys_file"):
        open_registry(settings.model_copy(update={"require_signed_models": True}))
