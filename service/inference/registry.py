"""A folder of models -> this role's halves of them, opened and looked up by name or by fingerprint.

Only the role's own half is imported and opened: a sender neither needs the decoder's code nor its files. HTTP is not
known here.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from latentwire.errors import ModelError, ModelMismatch
from latentwire.model.card import CARD_FILE, DECODER_FILE, ENCODER_FILE, GraphFile, ModelCard, load_card
from latentwire.model.model_files import ReadOnnx, read_onnx
from service.errors import NotReady, StartupRefused, UnknownModel
from service.settings import Settings

if TYPE_CHECKING:
    from latentwire.decoder import Decoder
    from latentwire.encoder import Encoder
    from latentwire.selection.guard import Guard
    from latentwire.selection.ladder import Ladder

_log = logging.getLogger(__name__)


class Component(Protocol):
    """An encoder or a decoder, as far as both are alike."""

    card: ModelCard

    def check_golden(self) -> None:
        """Raise `GoldenMismatch` unless this half gives its golden answer."""


AnyComponent = TypeVar("AnyComponent", bound=Component)
Result = TypeVar("Result")
OpenComponent = Callable[[Path, int, ModelCard, ReadOnnx], AnyComponent]


class ComponentSet(Generic[AnyComponent]):
    """The encoders, or the decoders, of all models. A half that fails its golden check is not handed out."""

    def __init__(self, halves: list[AnyComponent], default: str) -> None:
        self._by_name = {half.card.name: half for half in halves}
        self._by_fingerprint = {half.card.fingerprint: half for half in halves}
        self._default = default
        self._failures: dict[str, str] = {}

    @property
    def all(self) -> list[AnyComponent]:
        """The halves of all models, sound or not, by name."""
        return list(self._by_name.values())

    @property
    def cards(self) -> list[ModelCard]:
        """The cards of all models, by name."""
        return [half.card for half in self.all]

    def by_name(self, name: str | None) -> AnyComponent:
        """Return the half of the model of this name; of the default model for None.

        Raises:
            UnknownModel: no such model is loaded.
            NotReady: it failed its last golden check.
        """
        half = self._by_name.get(self._default if name is None else name)
        if half is None:
            raise UnknownModel(unknown_model_message(str(name), self._by_name))
        return self._sound(half)

    def by_fingerprint(self, fingerprint: bytes) -> AnyComponent:
        """Return the half of the model that made a code.

        Args:
            fingerprint: the 4 bytes that each code carries.

        Raises:
            ModelMismatch: no such model is loaded.
            NotReady: it failed its last golden check.
        """
        half = self._by_fingerprint.get(fingerprint)
        if half is None:
            raise ModelMismatch(
                f"the code was made by a model with fingerprint {fingerprint.hex()}, which is not loaded here; "
                f"loaded are {', '.join(f'{card.name} ({card.fingerprint.hex()})' for card in self.cards)}"
            )
        return self._sound(half)

    def check_golden(self) -> list[str]:
        """Run every golden check; return a sentence for each half that fails, and hand out only the others.

        This runs graphs, and so blocks for as long as that takes.
        """
        failures = {}
        for name, half in self._by_name.items():
            try:
                half.check_golden()
            except ModelError as error:
                failures[name] = str(error)
            except Exception:  # whatever else a graph or a golden picture can do wrong, this model cannot serve
                _log.exception("the golden check of model '%s' could not be run", name)
                failures[name] = f"the golden check of model '{name}' could not be run"
        self._failures = failures
        return self.failures

    @property
    def failures(self) -> list[str]:
        """A sentence for each half that failed the last golden check."""
        return list(self._failures.values())

    def _sound(self, half: AnyComponent) -> AnyComponent:
        if self._failures and (failure := self._failures.get(half.card.name)) is not None:
            raise NotReady(failure)
        return half


class Registry:
    """This role's models: `encoders` is None for a receiver, `decoders` for a sender.

    `verifiers` are the decoders that guard what is encoded; a sender may have them, and yet decode nothing for others.
    `opened_s`, of `time.monotonic`, is when its models were opened.
    """

    def __init__(
        self,
        default: str,
        encoders: "ComponentSet[Encoder] | None",
        decoders: "ComponentSet[Decoder] | None",
        verifiers: "ComponentSet[Decoder] | None" = None,
    ) -> None:
        self.opened_s = time.monotonic()
        self.default = default
        self.encoders = encoders
        self.decoders = decoders
        self.verifiers = verifiers
        self._guards = _make_guards(encoders, verifiers) if encoders else {}
        halves = encoders or decoders
        self.cards = {card.name: card for card in halves.cards} if halves else {}

    def check_golden(self) -> list[str]:
        """Run every golden check of this role; return a sentence for each that fails."""
        return [failure for halves in self._halves() for failure in halves.check_golden()]

    @property
    def failures(self) -> list[str]:
        """A sentence for each golden check that failed when it was last run."""
        return [failure for halves in self._halves() for failure in halves.failures]

    def _halves(self) -> "dict[ComponentSet[Encoder] | ComponentSet[Decoder], None]":
        return dict.fromkeys(halves for halves in (self.encoders, self.decoders, self.verifiers) if halves)

    def guard(self, name: str | None) -> "Guard":
        """Return the guarded encoder of the model of this name; of the default model for None.

        Raises:
            UnknownModel: no such model is loaded, or none that encodes.
            NotReady: one of its halves failed its last golden check.
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
        from latentwire.selection.ladder import Ladder  # not at the top: a receiver must not load this code

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


class ModelFiles:
    """All models' cards, and the files of this role's graphs.

    Inside its context, the files are read and hashed in a thread while something else is done, for this does not need
    Python's lock. Outside, each is when it is asked for.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the cards.

        Raises:
            StartupRefused: no model, or no such default model.
            InvalidCard: a card is not what it should be.
        """
        folders = _model_folders(settings.models_dir)
        self.default = _default_of(settings, folders)
        self.cards = {folder: load_card(folder) for folder in folders}
        self._files: dict[Path, GraphFile] = {}
        if settings.encodes:
            self._files |= {folder / ENCODER_FILE: card.encoder for folder, card in self.cards.items()}
        if settings.decodes or settings.decodes_to_guard:
            self._files |= {folder / DECODER_FILE: card.decoder for folder, card in self.cards.items()}
        self._reading: dict[Path, Future[bytes]] = {}
        self._thread: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        """Begin to read."""
        self._thread = ThreadPoolExecutor(1, "model-files")
        self._reading = {path: self._thread.submit(read_onnx, path, file) for path, file in self._files.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the thread, and drop what has not been asked for."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)
            self._thread = None
            self._reading.clear()

    def read(self, path: Path, expected: GraphFile) -> bytes:
        """Return the bytes of a graph, once; see `read_onnx`."""
        reading = self._reading.pop(path, None)
        return reading.result() if reading else read_onnx(path, expected)

    def begin(self, work: Callable[[], Result]) -> Callable[[], Result]:
        """Return what gives the result of some work: begun in the thread if there is one, and else when it is asked."""
        return work if self._thread is None else self._thread.submit(work).result


def open_registry(settings: Settings, files: ModelFiles | None = None) -> Registry:
    """Open the role's half of each model in `settings.models_dir`, and run its golden check.

    A model that fails its golden check is opened all the same: the process says so when it is asked whether it is
    ready, and does not serve that model.

    Args:
        settings: of this process.
        files: of the models, if they are being read already.

    Raises:
        StartupRefused: no model, two models with one fingerprint, or no such default model.
        ModelError: a model's card or graph is not what it should be.
    """
    files = files or ModelFiles(settings)
    checks = []
    encoders = _open_encoders(settings, files) if settings.encodes else None
    if encoders:
        # Opening a graph holds Python's lock, and running one does not.
        checks.append(files.begin(encoders.check_golden))
    decoders = _open_decoders(settings, files) if settings.decodes or settings.decodes_to_guard else None
    if decoders:
        checks.append(files.begin(decoders.check_golden))
    registry = Registry(
        files.default,
        encoders,
        decoders if settings.decodes else None,
        decoders if settings.decodes_to_guard else None,
    )
    for check in checks:
        check()
    return registry


def unknown_model_message(name: str, known: "dict[str, AnyComponent] | dict[str, ModelCard]") -> str:
    """Say that there is no such model, and which there are."""
    return f"there is no model '{name[:64]}' here; there {'are' if len(known) > 1 else 'is'} {', '.join(known)}"


def _model_folders(models_dir: Path) -> list[Path]:
    # Dot-folders are models that are just being written.
    try:
        folders = sorted(
            folder
            for folder in models_dir.iterdir()
            if not folder.name.startswith(".") and (folder / CARD_FILE).exists()
        )
    except OSError as error:
        raise StartupRefused(f"the models' folder '{models_dir}' cannot be read: {error.strerror}") from error
    if not folders:
        raise StartupRefused(f"the folder '{models_dir}' holds no model: no folder in it has a {CARD_FILE}")
    _refuse_links_out(models_dir, folders)
    return folders


def _refuse_links_out(models_dir: Path, folders: list[Path]) -> None:
    inside = models_dir.resolve()
    for folder in folders:
        for file in (CARD_FILE, ENCODER_FILE, DECODER_FILE):
            if not (folder / file).resolve().is_relative_to(inside):
                raise StartupRefused(
                    f"{file} of model '{folder.name}' lies outside of '{models_dir}', where a link leads to"
                )


def _make_guards(encoders: "ComponentSet[Encoder]", verifiers: "ComponentSet[Decoder] | None") -> dict[str, "Guard"]:
    from latentwire.selection.guard import Guard  # not at the top: a receiver must not load this code

    judge_of = {half.card.name: half for half in verifiers.all} if verifiers else {}
    return {half.card.name: Guard(half, judge_of.get(half.card.name)) for half in encoders.all}


def _open_encoders(settings: Settings, files: ModelFiles) -> "ComponentSet[Encoder]":
    from latentwire.encoder import Encoder  # not at the top: a receiver must not load this code

    return _open_halves(settings, files, Encoder.open)


def _open_decoders(settings: Settings, files: ModelFiles) -> "ComponentSet[Decoder]":
    from latentwire.decoder import Decoder  # not at the top: a sender must not load this code

    return _open_halves(settings, files, Decoder.open)


def _open_halves(
    settings: Settings, files: ModelFiles, open_half: OpenComponent[AnyComponent]
) -> ComponentSet[AnyComponent]:
    halves: dict[bytes, AnyComponent] = {}
    for folder, card in files.cards.items():
        half = open_half(folder, settings.intra_op_threads, card, files.read)
        twin = halves.setdefault(half.card.fingerprint, half)
        if twin is not half:
            raise StartupRefused(
                f"the models '{twin.card.name}' and '{half.card.name}' have the same fingerprint "
                f"{half.card.fingerprint.hex()}, so that their codes cannot be told apart; remove one of them"
            )
    return ComponentSet(list(halves.values()), files.default)


def _default_of(settings: Settings, folders: list[Path]) -> str:
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
