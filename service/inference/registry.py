"""The models that this process serves."""

from latentwire.model.signature import read_signers
from latentwire.registry import Registry
from latentwire.registry import open_registry as open_folder
from service.settings import Settings


def open_registry(settings: Settings) -> Registry:
    """Open the role's components of each model in `settings.models_dir`, and run their golden checks.

    Raises:
        InvalidKeyFile: see `latentwire.model.signature.read_signers`.
        UnusableFolder: see `latentwire.registry.open_registry`.
    """
    return open_folder(
        settings.models_dir,
        encodes=settings.encodes,
        decodes=settings.decodes,
        verifies=settings.verifies,
        default=settings.default_model,
        strict=settings.strict_models,
        threads=settings.intra_op_threads,
        signers=read_signers(settings.model_keys_file, required=settings.require_signed_models),
    )
