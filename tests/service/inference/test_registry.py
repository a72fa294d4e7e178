from pathlib import Path

import pytest

from latentwire.errors import InvalidGraph, ModelMismatch
from service.errors import StartupRefused, UnknownModel
from service.inference.registry import open_registry
from service.settings import Settings


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
        assert registry.check_golden() == []
        path.write_bytes(graph)


def test_a_damaged_graph_is_refused(settings: Settings) -> None:
    path = settings.models_dir / "tiny" / "decoder.onnx"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidGraph, match=r"decoder.onnx of model 'tiny'.*SHA-256"):
        open_registry(settings)


def test_a_symlink_out_of_the_models_folder_is_refused(settings: Settings, tmp_path: Path) -> None:
    path = settings.models_dir / "tiny" / "decoder.onnx"
    path.rename(tmp_path / "elsewhere.onnx")
    path.symlink_to(tmp_path / "elsewhere.onnx")
    with pytest.raises(StartupRefused, match=r"decoder.onnx of model 'tiny' is a symlink to a file outside"):
        open_registry(settings)


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
