"""The models that this process serves: encoders and decoders, looked up by name or by fingerprint.

A process imports and opens only the components of its role: a sender needs neither the decoder's code nor its files,
unless it verifies reconstructions.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from latentwire.errors import ModelError, ModelMismatch
from latentwire.model.card import CARD_FILE, DECODER_FILE, ENCODER_FILE, ModelCard
from service.errors import NotReady, StartupRefused, UnknownModel
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from latentwire.encoder import Encoder
    from latentwire.selection.guard import Guard
    from latentwire.selection.ladder import Ladder

_log = logging.getLogger(__name__)

Component = TypeVar("Component", "Encoder", "Decoder")
Found = TypeVar("Found")


class ComponentSet(Generic[Component]):
    """The encoders, or the decoders, of all models. It withholds a component that failed its last golden check."""

    def __init__(self, components: Iterable[Component], default: str) -> None:
        """Hold these components; `default` is the default model's name.

        Raises:
            StartupRefused: two models have one fingerprint.
        """
        self.by_model: dict[str, Component] = {}
        self._by_fingerprint: dict[bytes, Component] = {}
        self._default = default
        self._failures: dict[str, str] = {}
        for component in components:
            card = component.card
            self.by_model[card.name] = component
            twin = self._by_fingerprint.setdefault(card.fingerprint, component)
            if twin is not component:
                raise StartupRefused(
                    f"the models '{twin.card.name}' and '{card.name}' have the same fingerprint "
                    f"{card.fingerprint.hex()}, so their codes cannot be told apart; remove one of them"
                )

    def by_name(self, name: str | None) -> Component:
        """Return the component of the model of this name; of the default model for None.

        Raises:
            UnknownModel: no such model is loaded.
            NotReady: the component failed its last golden check.
        """
        return self._ready(_find(self._default if name is None else name, self.by_model))

    def by_fingerprint(self, fingerprint: bytes) -> Component:
        """Return the component of the model that made a bitstream.

        Args:
            fingerprint: the 4 bytes in the bitstream's header.

        Raises:
            ModelMismatch: no such model is loaded.
            NotReady: the component failed its last golden check.
        """
        component = self._by_fingerprint.get(fingerprint)
        if component is None:
            loaded = ", ".join(f"{name} ({each.card.fingerprint.hex()})" for name, each in self.by_model.items())
            raise ModelMismatch(
                f"the code was made by a model with fingerprint {fingerprint.hex()}, which is not loaded here; "
                f"loaded are {loaded}"
            )
        return self._ready(component)

    def check_golden(self) -> list[str]:
        """Run every golden check, withhold the components that fail, and return a sentence for each of them.

        This runs graphs, and blocks for as long as that takes.
        """
        failures = {}
        for name, component in self.by_model.items():
            try:
                component.check_golden()
            except ModelError as error:
                failures[name] = str(error)
            except Exception:  # whatever else a graph or a golden image can do wrong, this model cannot serve
                _log.exception("the golden check of model '%s' could not be run", name)
                failures[name] = f"the golden check of model '{name}' could not be run"
        self._failures = failures
        return list(failures.values())

    def _ready(self, component: Component) -> Component:
        if self._failures and (failure := self._failures.get(component.card.name)) is not None:
            raise NotReady(failure)
        return component


class Registry:
    """The components of all models.

    `encoders` is None for a receiver, and `decoders` for a sender. `verifiers` are the decoders that verify what is
    encoded; a sender may have them, and still decodes nothing for others.
    """

    def __init__(
        self,
        default: str,
        encoders: "ComponentSet[Encoder] | None",
        decoders: "ComponentSet[Decoder] | None",
        verifiers: "ComponentSet[Decoder] | None",
    ) -> None:
        self.default = default
        self.encoders = encoders
        self.decoders = decoders
        self.verifiers = verifiers
        self.cards: dict[str, ModelCard] = {}
        self._guards: dict[str, Guard] = {}
        if decoders:
            self.cards = {name: decoder.card for name, decoder in decoders.by_model.items()}
        if encoders:
            from latentwire.selection import guard  # a receiver must not load this code

            halves = verifiers.by_model if verifiers else {}
            self._guards = {name: guard.Guard(half, halves.get(name)) for name, half in encoders.by_model.items()}
            self.cards = {name: each.card for name, each in self._guards.items()}

    def check_golden(self) -> list[str]:
        """Run every golden check of this role; return a sentence for each that fails."""
        # The decoders and the verifiers may be one set.
        sets = dict.fromkeys(each for each in (self.encoders, self.decoders, self.verifiers) if each)
        return [failure for components in sets for failure in components.check_golden()]

    def guard(self, name: str | None) -> "Guard":
        """Return the guarded encoder of the model of this name; of the default model for None.

        Raises:
            UnknownModel: no such model is loaded, or none that encodes.
            NotReady: one of its components failed its last golden check.
        """
        guard = _find(self.default if name is None else name, self._guards)
        for components in (self.encoders, self.verifiers):
            if components:
                components.by_name(name)
        return guard

    def ladder(self) -> "Ladder":
        """Return the ladder of the models that take the default model's images, without those that are not ready.

        Raises:
            NotReady: none of them is.
        """
        from latentwire.selection.ladder import Ladder  # a receiver must not load this code

        ready, failures = [], []
        for name, card in self.cards.items():
            if card.image == self.cards[self.default].image:
                try:
                    ready.append(self.guard(name))
                except NotReady as error:
                    failures.append(error)
        if not ready:
            raise failures[0]
        return Ladder(ready)

    def card(self, name: str) -> ModelCard:
        """Return the card of the model of this name.

        Raises:
            UnknownModel: no such model is loaded.
        """
        return _find(name, self.cards)


def open_registry(settings: Settings) -> Registry:
    """Open the role's components of each model in `settings.models_dir`, and run their golden checks.

    A model that fails its golden check is opened all the same: the process then reports that it is not ready, and does
    not serve that model.

    Raises:
        StartupRefused: no model, two models with one fingerprint, or no such default model.
        ModelError: a model's card or graph is not what it should be.
    """
    threads = settings.intra_op_threads
    folders = _model_folders(settings.models_dir)
    default = _default_model(settings, folders)
    encoders, decoders = None, None
    if settings.encodes:
        from latentwire.encoder import Encoder  # a receiver must not load this code

        encoders = ComponentSet((Encoder.open(folder, threads) for folder in folders), default)
    if settings.decodes or settings.verifies:
        from latentwire.decoder import Decoder  # a sender must not load this code

        decoders = ComponentSet((Decoder.open(folder, threads) for folder in folders), default)
    registry = Registry(
        default, encoders, decoders if settings.decodes else None, decoders if settings.verifies else None
    )
    registry.check_golden()
    return registry


def _find(name: str, models: Mapping[str, Found]) -> Found:
    if name not in models:
        raise UnknownModel(f"no model is called '{name[:64]}'; choose from {', '.join(models)}")
    return models[name]


def _model_folders(models_dir: Path) -> list[Path]:
    # Folders whose names begin with a dot are models that are just being written.
    try:
        visible = (folder for folder in models_dir.iterdir() if not folder.name.startswith("."))
        folders = sorted(folder for folder in visible if (folder / CARD_FILE).exists())
    except OSError as error:
        raise StartupRefused(f"the models folder '{models_dir}' cannot be read: {error.strerror}") from error
    if not folders:
        raise StartupRefused(f"the models folder '{models_dir}' holds no model: no folder in it has a {CARD_FILE}")
    for folder in folders:
        for file in (CARD_FILE, ENCODER_FILE, DECODER_FILE):
            if not (folder / file).resolve().is_relative_to(models_dir.resolve()):
                raise StartupRefused(
                    f"{file} of model '{folder.name}' is a symlink to a file outside '{models_dir}'; copy it there"
                )
    return folders


def _default_model(settings: Settings, folders: list[Path]) -> str:
    names = [folder.name for folder in folders]
    default = names[0] if settings.default_model is None else settings.default_model
    if settings.default_model is None and len(names) > 1:
        raise StartupRefused(f"there are several models ({', '.join(names)}); choose the default with --default-model")
    if default not in names:
        raise StartupRefused(
            f"the default model '{default}' is not in '{settings.models_dir}', which holds {', '.join(names)}"
        )
    return default
