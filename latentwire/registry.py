"""All models of a folder: encoders and decoders, looked up by name or by fingerprint.

Only the wanted components are imported and opened: a sender needs neither the decoder's code nor its files, unless it
verifies reconstructions. A model that cannot be used costs the others nothing.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from latentwire.errors import ModelError, ModelMismatch, ModelNotReady, UnknownModel, UnusableFolder
from latentwire.model.card import ModelCard
from latentwire.model.model_folders import DEFAULT_MODEL_FILE, default_model, find_models
from latentwire.model.signature import Signers

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

    def __init__(self, components: Iterable[Component], default: str, broken: Mapping[str, str]) -> None:
        """Hold these components.

        Args:
            components: of the models that could be opened.
            default: name of the default model.
            broken: what is wrong with the other models, by their names.
        """
        self.by_model: dict[str, Component] = {component.card.name: component for component in components}
        self._by_fingerprint: dict[bytes, Component] = {
            component.card.fingerprint: component for component in self.by_model.values()
        }
        self._default = default
        self._broken = broken
        self._failures: dict[str, str] = {}

    def by_name(self, name: str | None) -> Component:
        """Return the component of the model of this name; of the default model for None.

        Raises:
            UnknownModel: there is no such model.
            ModelNotReady: the model could not be opened, or the component failed its last golden check.
        """
        return self._ready(_find(self._default if name is None else name, self.by_model, self._broken))

    def by_fingerprint(self, fingerprint: bytes) -> Component:
        """Return the component of the model that made a bitstream.

        Args:
            fingerprint: the 4 bytes in the bitstream's header.

        Raises:
            ModelMismatch: no such model is loaded.
            ModelNotReady: the component failed its last golden check.
        """
        component = self._by_fingerprint.get(fingerprint)
        if component is None:
            loaded = ", ".join(f"{name} ({each.card.fingerprint.hex()})" for name, each in self.by_model.items())
            raise ModelMismatch(
                f"the code was made by a model with fingerprint {fingerprint.hex()}, which is not loaded here; "
                f"loaded are {loaded}"
            )
        return self._ready(component)

    def check_golden(self) -> dict[str, str]:
        """Run every golden check, withhold the components that fail, and return a sentence for each, by model.

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
        return failures

    def _ready(self, component: Component) -> Component:
        if self._failures and (failure := self._failures.get(component.card.name)) is not None:
            raise ModelNotReady(failure)
        return component


class Registry:
    """The components of all models.

    `encoders` is None for a receiver, and `decoders` for a sender. `verifiers` are the decoders that verify what is
    encoded; a sender may have them, and still decodes nothing for others. `failures` says what is wrong with each model
    that cannot be used, by its name.
    """

    def __init__(
        self,
        default: str,
        encoders: "ComponentSet[Encoder] | None",
        decoders: "ComponentSet[Decoder] | None",
        verifiers: "ComponentSet[Decoder] | None",
        broken: Mapping[str, str],
    ) -> None:
        self.default = default
        self.encoders = encoders
        self.decoders = decoders
        self.verifiers = verifiers
        self._broken = broken
        self.failures = dict(broken)
        self.cards: dict[str, ModelCard] = {}
        self._guards: dict[str, Guard] = {}
        if decoders:
            self.cards = {name: decoder.card for name, decoder in decoders.by_model.items()}
        if encoders:
            from latentwire.selection import guard  # a receiver must not load this code

            halves = verifiers.by_model if verifiers else {}
            self._guards = {name: guard.Guard(half, halves.get(name)) for name, half in encoders.by_model.items()}
            self.cards = {name: each.card for name, each in self._guards.items()}

    def check_golden(self) -> dict[str, str]:
        """Run every golden check of this role; return a sentence for each model that cannot be used, by its name."""
        # The decoders and the verifiers may be one set.
        sets = dict.fromkeys(each for each in (self.encoders, self.decoders, self.verifiers) if each)
        self.failures = {**self._broken, **{name: why for each in sets for name, why in each.check_golden().items()}}
        return self.failures

    def guard(self, name: str | None) -> "Guard":
        """Return the guarded encoder of the model of this name; of the default model for None.

        Raises:
            UnknownModel: there is no such model, or none that encodes.
            ModelNotReady: it could not be opened, or one of its components failed its last golden check.
        """
        guard = _find(self.default if name is None else name, self._guards, self._broken)
        for components in (self.encoders, self.verifiers):
            if components:
                components.by_name(name)
        return guard

    def ladder(self) -> "Ladder":
        """Return the ladder of the models that take the default model's images, without those that are not ready.

        Raises:
            ModelNotReady: none of them is, or the default model could not be opened.
        """
        from latentwire.selection.ladder import Ladder  # a receiver must not load this code

        ready, failures = [], []
        image = self.card(self.default).image
        for name, card in self.cards.items():
            if card.image == image:
                try:
                    ready.append(self.guard(name))
                except ModelNotReady as error:
                    failures.append(error)
        if not ready:
            raise failures[0]
        return Ladder(ready)

    def above(self, guard: "Guard") -> "list[Guard]":
        """Return the guards of the models on the ladder that are better than that of `guard`, the next one first."""
        return self.ladder().above(guard)

    def card(self, name: str) -> ModelCard:
        """Return the card of the model of this name.

        Raises:
            UnknownModel: there is no such model.
            ModelNotReady: it could not be opened.
        """
        return _find(name, self.cards, self._broken)


def open_registry(
    folder: Path,
    *,
    encodes: bool = True,
    decodes: bool = True,
    verifies: bool = True,
    default: str | None = None,
    strict: bool = False,
    threads: int = 1,
    signers: Signers | None = None,
) -> Registry:
    """Open the wanted components of each model in `folder`, and run their golden checks.

    A model that cannot be opened costs the others nothing. Of two models with the same fingerprint, the second counts
    as one that cannot, as their bitstreams cannot be told apart.

    Args:
        folder: holds one folder for each model.
        encodes: whether encoders are wanted; their code is not imported otherwise.
        decodes: whether decoders are wanted to decode for others; likewise.
        verifies: whether decoders are wanted to verify what is encoded; likewise.
        default: name of the default model; None for the one that the folder names, or the only one that can be opened.
        strict: refuse the folder if any model cannot be used.
        threads: number of threads that one run of a graph may use.
        signers: those one of whom must have signed each model; None opens the models of anyone.

    Raises:
        UnusableFolder: no model can be opened, or there is no default; with `strict` also if one cannot be used.
    """
    try:
        names = find_models(folder)
        default = default or default_model(folder)
    except OSError as error:
        raise UnusableFolder(f"the models folder '{folder}' cannot be read: {error.strerror}") from error
    if not names:
        raise UnusableFolder(f"the models folder '{folder}' holds no model")
    encoders: list[Encoder] = []
    decoders: list[Decoder] = []
    usable: dict[bytes, str] = {}
    broken: dict[str, str] = {}
    for name in names:
        try:
            encoder = _open_encoder(folder / name, threads, signers) if encodes else None
            decoder = _open_decoder(folder / name, threads, signers) if decodes or verifies else None
        except ModelError as error:
            # A folder's name may be no text, which could not be told to anybody.
            shown, why = (text.encode(errors="backslashreplace").decode() for text in (name, str(error)))
            broken[shown] = why
            continue
        [fingerprint, *_] = [half.card.fingerprint for half in (encoder, decoder) if half]
        if (twin := usable.setdefault(fingerprint, name)) != name:
            broken[name] = f"the models '{twin}' and '{name}' have the same fingerprint; remove one of them"
            continue
        encoders += [encoder] if encoder else []
        decoders += [decoder] if decoder else []
    if not usable or (strict and broken):
        raise UnusableFolder("; ".join(broken.values()))
    default = _choose_default(default, names, list(usable.values()), folder)
    decoding = ComponentSet(decoders, default, broken)
    registry = Registry(
        default,
        ComponentSet(encoders, default, broken) if encodes else None,
        decoding if decodes else None,
        decoding if verifies else None,
        broken,
    )
    if (failures := registry.check_golden()) and strict:
        raise UnusableFolder("; ".join(failures.values()))
    return registry


def _find(name: str, models: Mapping[str, Found], broken: Mapping[str, str]) -> Found:
    if name in broken:
        raise ModelNotReady(broken[name])
    if name not in models:
        raise UnknownModel(f"no model is called '{name[:64]}'; choose from {', '.join(models)}")
    return models[name]


def _open_encoder(folder: Path, threads: int, signers: Signers | None) -> "Encoder":
    from latentwire.encoder import Encoder  # a receiver must not load this code

    return Encoder.open(folder, threads, signers)


def _open_decoder(folder: Path, threads: int, signers: Signers | None) -> "Decoder":
    from latentwire.decoder import Decoder  # a sender must not load this code

    return Decoder.open(folder, threads, signers)


def _choose_default(wanted: str | None, names: list[str], usable: list[str], folder: Path) -> str:
    if wanted is None and len(usable) > 1:
        raise UnusableFolder(
            f"there are several models ({', '.join(names)}) and no default; write its name into "
            f"'{folder / DEFAULT_MODEL_FILE}', or set default_model"
        )
    if wanted is not None and wanted not in names:
        raise UnusableFolder(f"the default model {wanted[:64]!r} is not in '{folder}', which holds {', '.join(names)}")
    return wanted or usable[0]
