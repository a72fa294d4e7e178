"""What `docs/FORMAT.md` says of single codes, and that nothing else is read."""

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentwire.decoder import Decoder
from latentwire.encoder import Encoder
from latentwire.entropy.arithmetic import ArithmeticCoder
from latentwire.errors import CodecError, CodeError
from latentwire.format.bitstream import write_bitstream
from latentwire.model.card import CARD_FILE, FrequencyTable, load_card
from latentwire.model.onnx_session import Floats, OnnxModel
from tests.contract.goldens import MODELS, REPOSITORY
from tests.contract.hostile_codes import (
    FOLDER,
    NAME,
    SHAPE,
    TABLES,
    Hostile,
    card,
    hostile_files,
    hostile_payloads,
    sound_bitstream,
    sound_image,
    sound_payload,
)

TEXT = (REPOSITORY / "docs" / "FORMAT.md").read_text(encoding="utf-8")
VECTORS = re.split(r"\n##? ", TEXT.partition("\n## Test vectors of single images\n")[2])[0]
FILES = hostile_files()
MAX_MEMORY_BYTES = 8 << 20


class Grey(OnnxModel):
    """A decoder's graph that always gives a grey image."""

    def __init__(self) -> None:
        pass

    def run(self, values: Floats) -> Floats:
        return np.full((len(values), 1, SHAPE.height, SHAPE.width), 0.5, np.float32)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder(card(), Grey())


def read(decoder: Decoder, name: str, data: bytes, folder: Path) -> object:
    """Read a file of the hostile ones as what it pretends to be."""
    if name.startswith("card-"):
        (folder / NAME).mkdir()
        (folder / NAME / CARD_FILE).write_bytes(data)
        return load_card(folder / NAME)
    return decoder.decode([data]) if name.startswith("code-") else decoder.decode_raw([data])


def vectors() -> list[list[str]]:
    """The rows of the document's tables of test vectors: symbols or pixels, then payload."""
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in VECTORS.splitlines() if "| `" in line]
    assert len(rows) >= 8
    return rows


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", VECTORS, re.DOTALL)
    return str(found)


def test_the_tables_of_the_document_are_those_of_the_hostile_files() -> None:
    assert tuple(FrequencyTable.model_validate(table) for table in json.loads(block("json"))) == TABLES


@pytest.mark.parametrize("row", vectors(), ids=lambda row: row[0])
def test_the_test_vectors_of_the_document(row: list[str], decoder: Decoder) -> None:
    what, payload = row[0], bytes.fromhex(row[-1])
    if "×" in what:
        assert decoder.decode_raw([payload]).tobytes() == bytes(range(0, 240, 2))
        return
    symbols = json.loads(f"[{what}]")
    coder = ArithmeticCoder(TABLES)
    assert coder.encode(symbols)[0] == payload
    assert coder.decode(payload).tolist() == symbols
    assert f"{coder.ideal_bits(np.array([symbols]))[0]:.4f}" == row[1]


def test_the_full_framing_of_the_document() -> None:
    (shown,) = re.findall(r"full framing is `([0-9a-f]+)`", TEXT)
    (symbols,) = re.findall(r"of `([-\d, ]+)` and the fingerprint `00ff10ab`", TEXT)
    payload = ArithmeticCoder(TABLES).encode(json.loads(f"[{symbols}]"))[0]
    assert write_bitstream(payload, bytes.fromhex("00ff10ab")).hex() == shown


def test_the_reader_of_the_document_reads_what_the_codec_writes() -> None:
    namespace: dict[str, Any] = {}
    exec(block("python"), namespace)  # noqa: S102  the document is our own
    tables = json.loads(block("json"))
    for row in vectors():
        if "×" not in row[0]:
            assert namespace["read_symbols"](bytes.fromhex(row[-1]), tables) == json.loads(f"[{row[0]}]")
    random = np.random.default_rng(0)
    coder = ArithmeticCoder(TABLES)
    for scale in (1, 10, 1000, 10**8):
        for symbols in np.rint(random.normal(0, scale, (50, 3))).astype(np.int64).tolist():
            assert namespace["read_symbols"](coder.encode(symbols)[0], tables) == symbols


def test_what_the_hostile_files_are_made_of_is_read(decoder: Decoder, tmp_path: Path) -> None:
    assert decoder.decode([sound_bitstream()]).shape == (1, 12, 10, 1)
    assert decoder.decode_raw([sound_payload(), sound_image()]).shape == (2, 12, 10, 1)
    assert read(decoder, "card-sound", card().to_json().encode(), tmp_path) == card()


def test_the_hostile_files_are_those_that_the_script_writes() -> None:
    found = {path.name for kind in ("code", "raw", "card") for path in FOLDER.glob(f"{kind}-*")}
    assert found == set(FILES)
    # Files of images inside may differ from one version of Pillow to the next; what they are made to show does not.
    for name in found:
        if "image" not in name:
            assert (FOLDER / name).read_bytes() == FILES[name].data, name


@pytest.mark.parametrize("name", FILES)
def test_each_hostile_file_is_refused_with_its_own_error(decoder: Decoder, name: str, tmp_path: Path) -> None:
    expected = FILES[name]
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match=expected.says) as caught:
            read(decoder, name, (FOLDER / name).read_bytes(), tmp_path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert type(caught.value) is expected.error
    assert "\n" not in str(caught.value)
    assert peak_bytes < MAX_MEMORY_BYTES


def test_a_payload_of_a_megabyte_is_refused(decoder: Decoder) -> None:
    hostile: Hostile = hostile_payloads()["megabyte"]
    with pytest.raises(hostile.error, match=hostile.says):
        decoder.decode_raw([hostile.data])


@pytest.mark.parametrize("exact", [False, True], ids=["coded", "lossless"])
@pytest.mark.parametrize("model", ["tiny", "mnist-conv-10"])
def test_no_bit_of_a_code_can_flip_unseen(tiny_model: Path, model: str, exact: bool) -> None:
    folder = tiny_model if model == "tiny" else MODELS / model
    encoder, decoder = Encoder.open(folder), Decoder.open(folder)
    shape = encoder.card.image
    row = np.linspace(0, 255, shape.width).astype(np.uint8)
    pixels = np.broadcast_to(row[None, None, :, None], (1, *shape.as_tuple())).copy()
    (encoded,) = (encoder.encode_lossless if exact else encoder.encode)(pixels)
    assert decoder.decode([encoded.bitstream]).shape == pixels.shape
    for position in range(8 * len(encoded.bitstream)):
        damaged = bytearray(encoded.bitstream)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(CodeError):
            decoder.decode([bytes(damaged)])
