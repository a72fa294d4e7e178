"""The models that this process serves: encoders and decoders, looked up by name or by fingerprint.

A process imports and opens only the components of its role: a sender needs neither the decoder's code nor its files,
unless it verifies reconstructions.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

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


class Component(Protocol):
    """What encoders and decoders have in common."""

    card: ModelCard

    def check_golden(self) -> None:
        """Raise `GoldenMismatch` unless this component reproduces its golden output."""


AnyComponent = TypeVar("AnyComponent", bound=Component)


class ComponentSet(Generic[AnyComponent]):
    """The encoders, or the decoders, of all models. It withholds a component that failed its last golden check."""

    def __init__(self, components: Iterable[AnyComponent], default: str) -> None:
        self._by_name = {component.card.name: component for component in components}
        self._by_fingerprint = {component.card.fingerprint: component for component in self._by_name.values()}
        self._default = default
        self._failures: dict[str, str] = {}

    @property
    def all(self) -> dict[str, AnyComponent]:
        """Every component by its model's name, ready or not."""
        return self._by_name

    def by_name(self, name: str | None) -> AnyComponent:
        """Return the component of the model of this name; of the default model for None.

        Raises:
            UnknownModel: no such model is loaded.
            NotReady: the component failed its last golden check.
        """
        component = self._by_name.get(self._default if name is None else name)
        if component is None:
            raise UnknownModel(unknown_model_message(str(name), self._by_name))
        return self._ready(component)

    def by_fingerprint(self, fingerprint: bytes) -> AnyComponent:
        """Return the component of the model that made a bitstream.

        Args:
            fingerprint: the 4 bytes in the bitstream's header.

        Raises:
            ModelMismatch: no such model is loaded.
            NotReady: the component failed its last golden check.
        """
        component = self._by_fingerprint.get(fingerprint)
        if component is None:
            loaded = ", ".join(f"{name} ({each.card.fingerprint.hex()})" for name, each in self._by_name.items())
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
        for name, component in self._by_name.items():
            try:
                component.check_golden()
            except ModelError as error:
                failures[name] = str(error)
            except Exception:  # whatever else a graph or a golden image can do wrong, this model cannot serve
                _log.exception("the golden check of model '%s' could not be run", name)
                failures[name] = f"the golden check of model '{name}' could not be run"
        self._failures = failures
        return list(failures.values())

    def _ready(self, component: AnyComponent) -> AnyComponent:
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
        verifiers: "ComponentSet[Decoder] | None" = None,
    ) -> None:
        self.default = default
        self.encoders = encoders
        self.decoders = decoders
        self.verifiers = verifiers
        self._guards = _make_guards(encoders, verifiers) if encoders else {}
        components: Iterable[Component] = (encoders or decoders or ComponentSet([], default)).all.values()
        self.cards = {component.card.name: component.card for component in components}

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
        guard = self._guards.get(self.default if name is None else name)
        if guard is None or self.encoders is None:
            raise UnknownModel(unknown_model_message(str(name), self.cards))
        self.encoders.by_name(name)
        if self.verifiers:
            self.verifiers.by_name(name)
        return guard

    def ladder(self) -> "Ladder":
        """Return the ladder of the models that take the default model's images, without those that are not ready.

        Raises:
            NotReady: none of them is.
        """
        from latentwire.selection.ladder import Ladder  # a receiver must not load this code

        shape = self.card(self.default).image
        ready, failure = [], None
        for name in (name for name, card in self.cards.items() if card.image == shape):
            try:
                ready.append(self.guard(name))
            except NotReady as error:
                failure = error
        if not ready and failure:
            raise failure
        return Ladder(ready)

    def card(self, name: str) -> ModelCard:
        """Return the card of the model of this name.

        Raises:
            UnknownModel: no such model is loaded.
        """
        try:
            return self.cards[name]
        except KeyError as error:
            raise UnknownModel(unknown_model_message(name, self.cards)) from error


def open_registry(settings: Settings) -> Registry:
    """Open the role's components of each model in `settings.models_dir`, and run their golden checks.

    A model that fails its golden check is opened all the same: the process then reports that it is not ready, and does
    not serve that model.

    Raises:
        StartupRefused: no model, two models with one fingerprint, or no such default model.
        ModelError: a model's card or graph is not what it should be.
    """
    folders = _model_folders(settings.models_dir)
    default = _default_model(settings, folders)
    encoders, decoders = None, None
    # A golden check runs in a thread while the next components are opened: running a graph releases Python's lock.
    with ThreadPoolExecutor(1, "golden-checks") as checks:
        if settings.encodes:
            from latentwire.encoder import Encoder  # a receiver must not load this code

            encoders = _open_components(Encoder.open, folders, default, settings.intra_op_threads)
            checks.submit(encoders.check_golden)
        if settings.decodes or settings.verifies:
            from latentwire.decoder import Decoder  # a sender must not load this code

            decoders = _open_components(Decoder.open, folders, default, settings.intra_op_threads)
            checks.submit(decoders.check_golden)
    return Registry(
        default,
        encoders,
        decoders if settings.decodes else None,
        decoders if settings.verifies else None,
    )


def unknown_model_message(name: str, known: Iterable[str]) -> str:
    """Return the sentence that no model has this name, and which names exist."""
    return f"no model is called '{name[:64]}'; choose from {', '.join(known)}"


def _open_components(
    open_component: Callable[[Path, int], AnyComponent], folders: list[Path], default: str, threads: int
) -> ComponentSet[AnyComponent]:
    opened: dict[bytes, AnyComponent] = {}
    for folder in folders:
        component = open_component(folder, threads)
        twin = opened.setdefault(component.card.fingerprint, component)
        if twin is not component:
            raise StartupRefused(
                f"the models '{twin.card.name}' and '{component.card.name}' have the same fingerprint "
                f"{component.card.fingerprint.hex()}, so their codes cannot be told apart; remove one of them"
            )
    return ComponentSet(opened.values(), default)


def _make_guards(encoders: "ComponentSet[Encoder]", verifiers: "ComponentSet[Decoder] | None") -> dict[str, "Guard"]:
    from latentwire.selection.guard import Guard  # a receiver must not load this code

    decoders = verifiers.all if verifiers else {}
    return {name: Guard(encoder, decoders.get(name)) for name, encoder in encoders.all.items()}


def _model_folders(models_dir: Path) -> list[Path]:
    # Folders whose names begin with a dot are models that are just being written.
    try:
        folders = sorted(
            folder
            for folder in models_dir.iterdir()
            if not folder.name.startswith(".") and (folder / CARD_FILE).exists()
        )
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
    if settings.default_model is None:
        if len(names) > 1:
            raise StartupRefused(
                f"there are several models ({', '.join(names)}); choose the default with --default-model"
            )
        return names[0]
    if settings.default_model not in names:
        raise StartupRefused(
            f"the default model '{settings.default_model}' is not in '{settings.models_dir}', "
            f"which holds {', '.join(names)}"
        )
    return settings.default_model
