"""All models of a folder, of both kinds: encoders and decoders, looked up by name or by fingerprint.

Only the wanted components are imported and opened: a sender needs neither the decoder's code nor its files, unless it
verifies reconstructions. A model that cannot be used costs the others nothing.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from latentwire.any_size.entropy_model import EntropyModel
from latentwire.errors import (
    ImageMismatch,
    InvalidVector,
    ModelError,
    ModelMismatch,
    ModelNotReady,
    UnknownModel,
    UnusableFolder,
)
from latentwire.model.any_size_card import AnySizeCard, load_any_card
from latentwire.model.card import ImageShape, ModelCard
from latentwire.model.model_folders import DEFAULT_MODEL_FILE, default_any_size_model, default_model, find_models
from latentwire.model.onnx_session import open_half
from latentwire.model.signature import Signers

if TYPE_CHECKING:
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.any_size.encoder import AnySizeEncoder
    from latentwire.any_size.sender import AnySizeSender
    from latentwire.decoder import Decoder
    from latentwire.encoder import Encoder
    from latentwire.selection.guard import Guard
    from latentwire.selection.ladder import Ladder

_log = logging.getLogger(__name__)

AnyCard = ModelCard | AnySizeCard
Found = TypeVar("Found")


class Half(Protocol):
    """What encoders and decoders of both kinds of models have in common."""

    @property
    def card(self) -> AnyCard:
        """Of the model."""

    def check_golden(self) -> None:
        """Raise `GoldenMismatch` if the half does not give its golden output."""


Component = TypeVar("Component", bound=Half)


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

    `default_any_size` is the model for images that fit no vector model; None if there is none.
    `encoders` is None for a receiver, and `decoders` for a sender. `verifiers` are the decoders that verify what is
    encoded; a sender may have them, and still decodes nothing for others. `failures` says what is wrong with each model
    that cannot be used, by its name.
    """

    def __init__(
        self,
        default: str,
        encoders: "ComponentSet[Encoder | AnySizeEncoder] | None",
        decoders: "ComponentSet[Decoder | AnySizeDecoder] | None",
        verifiers: "ComponentSet[Decoder | AnySizeDecoder] | None",
        broken: Mapping[str, str],
        default_any_size: str | None = None,
    ) -> None:
        self.default = default
        self.default_any_size = default_any_size
        self.encoders = encoders
        self.decoders = decoders
        self.verifiers = verifiers
        self._broken = broken
        self.failures = dict(broken)
        self.cards: dict[str, AnyCard] = {}
        self._guards: dict[str, Guard] = {}
        self._senders: dict[str, AnySizeSender] = {}
        if decoders:
            self.cards = {name: decoder.card for name, decoder in decoders.by_model.items()}
        if encoders:
            self._pair(encoders.by_model, verifiers.by_model if verifiers else {})
            self.cards = {name: encoder.card for name, encoder in encoders.by_model.items()}

    def _pair(
        self,
        encoders: "Mapping[str, Encoder | AnySizeEncoder]",
        verifiers: "Mapping[str, Decoder | AnySizeDecoder]",
    ) -> None:
        # A receiver must not load this code.
        from latentwire.any_size.encoder import AnySizeEncoder
        from latentwire.any_size.sender import AnySizeSender
        from latentwire.selection import guard

        for name, half in encoders.items():
            # The other half of a model is of the same kind.
            other: Any = verifiers.get(name)
            if isinstance(half, AnySizeEncoder):
                self._senders[name] = AnySizeSender(half, other)
            else:
                self._guards[name] = guard.Guard(half, other)

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
            ImageMismatch: it is a model for images of any size.
            ModelNotReady: it could not be opened, or one of its components failed its last golden check.
        """
        name = self.default if name is None else name
        if name in self._senders:
            raise ImageMismatch(f"model '{name}' takes images of any size; it has no guard")
        return self._ready(name, self._guards)

    def any_size_sender(self, name: str | None) -> "AnySizeSender | None":
        """Return the sender of the model of this name; of the default model for images of any size for None.

        Returns:
            None if the model is a vector model, or if there is no default for images of any size.

        Raises:
            UnknownModel: there is no such model, or none that encodes.
            ModelNotReady: it could not be opened, or one of its components failed its last golden check.
        """
        name = self.default_any_size if name is None else name
        return None if name is None or name in self._guards else self._ready(name, self._senders)

    def _ready(self, name: str, halves: Mapping[str, Found]) -> Found:
        self.card(name)  # refuses an unknown name, and tells those of both kinds
        found = _find(name, halves, self._broken)
        for components in (self.encoders, self.verifiers):
            if components:
                components.by_name(name)
        return found

    def ladder(self) -> "Ladder":
        """Return the ladder of the models that take the default model's images, without those that are not ready.

        Raises:
            ModelNotReady: none of them is, or the default model could not be opened.
        """
        from latentwire.selection.ladder import Ladder  # a receiver must not load this code

        ready, failures = [], []
        shape = self._shape_of(self.default)
        for name in self._guards:
            if self._shape_of(name) == shape:
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

    def _shape_of(self, name: str) -> ImageShape | None:
        card = self.card(name)
        return card.image if isinstance(card, ModelCard) else None

    def card(self, name: str) -> AnyCard:
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
        default: name of the default model; None for the one that the folder names, or the only vector model that can be
            opened, or else the only model.
        strict: refuse the folder if any model cannot be used.
        threads: number of threads that one run of a graph may use.
        signers: those one of whom must have signed each model; None opens the models of anyone.

    Raises:
        UnusableFolder: no model can be opened, or there is no default; with `strict` also if one cannot be used.
    """
    try:
        names = find_models(folder)
        default = default or default_model(folder)
        default_any_size = default_any_size_model(folder)
    except OSError as error:
        raise UnusableFolder(f"the models folder '{folder}' cannot be read: {error.strerror}") from error
    if not names:
        raise UnusableFolder(f"the models folder '{folder}' holds no model")
    encoders: list[Encoder | AnySizeEncoder] = []
    decoders: list[Decoder | AnySizeDecoder] = []
    usable: dict[bytes, str] = {}
    broken: dict[str, str] = {}
    any_size: list[str] = []
    for name in names:
        try:
            card = load_any_card(folder / name, signers)
            entropy = EntropyModel.open(folder / name, card, threads) if isinstance(card, AnySizeCard) else None
            encoder = _open_encoder(folder / name, card, threads, entropy) if encodes else None
            decoder = _open_decoder(folder / name, card, threads, entropy) if decodes or verifies else None
        except ModelError as error:
            # A folder's name may be no text, which could not be told to anybody.
            shown, why = (text.encode(errors="backslashreplace").decode() for text in (name, str(error)))
            broken[shown] = why
            continue
        if (twin := usable.setdefault(card.fingerprint, name)) != name:
            broken[name] = f"the models '{twin}' and '{name}' have the same fingerprint; remove one of them"
            continue
        encoders += [encoder] if encoder else []
        decoders += [decoder] if decoder else []
        any_size += [name] if isinstance(card, AnySizeCard) else []
    if not usable or (strict and broken):
        raise UnusableFolder("; ".join(broken.values()))
    vector = [name for name in usable.values() if name not in any_size]
    default = _choose_default(default, names, vector or any_size, folder)
    if default in any_size:
        default_any_size = default
    elif any_size:
        default_any_size = _choose_default(default_any_size, names, any_size, folder, "for images of any size")
    decoding = ComponentSet(decoders, default, broken)
    registry = Registry(
        default,
        ComponentSet(encoders, default, broken) if encodes else None,
        decoding if decodes else None,
        decoding if verifies else None,
        broken,
        default_any_size,
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


def vector_decoder(decoder: "Decoder | AnySizeDecoder") -> "Decoder":
    """Return the decoder of a vector model, which alone decodes vectors.

    Raises:
        InvalidVector: it is that of a model for images of any size.
    """
    if isinstance(decoder.card, AnySizeCard):
        raise InvalidVector(f"model '{decoder.card.name}' takes bitstreams; it has no code of fixed length")
    return decoder


def _open_encoder(
    folder: Path, card: AnyCard, threads: int, entropy: EntropyModel | None
) -> "Encoder | AnySizeEncoder":
    # A receiver must not load this code.
    from latentwire.any_size.encoder import AnySizeEncoder
    from latentwire.encoder import Encoder

    if isinstance(card, AnySizeCard):
        return AnySizeEncoder.open(folder, card, threads, entropy)
    return Encoder(card, open_half(folder, card, "encoder", threads))


def _open_decoder(
    folder: Path, card: AnyCard, threads: int, entropy: EntropyModel | None
) -> "Decoder | AnySizeDecoder":
    # A sender must not load this code.
    from latentwire.any_size.decoder import AnySizeDecoder
    from latentwire.decoder import Decoder

    if isinstance(card, AnySizeCard):
        return AnySizeDecoder.open(folder, card, threads, entropy)
    return Decoder(card, open_half(folder, card, "decoder", threads))


def _choose_default(wanted: str | None, names: list[str], usable: list[str], folder: Path, purpose: str = "") -> str:
    file = f"'{folder / DEFAULT_MODEL_FILE}'"
    if wanted is None and len(usable) > 1:
        where = f"the second line of {file}" if purpose else f"{file}, or set default_model"
        raise UnusableFolder(
            f"there are several models {purpose and purpose + ' '}({', '.join(usable)}) and no default; write its name "
            f"into {where}"
        )
    if wanted is not None and wanted not in names:
        raise UnusableFolder(f"the default model {wanted[:64]!r} is not in '{folder}', which holds {', '.join(names)}")
    return wanted or usable[0]
