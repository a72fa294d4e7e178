import json
from pathlib import Path

from latentwire.model.card import load_card
from tests.service.client import Client, assert_problem


def test_models_lists_the_models_and_the_default(client: Client, models_dir: Path) -> None:
    answer = client.get("/models").json()
    assert answer["default"] == "tiny"
    assert [model["name"] for model in answer["models"]] == ["other", "tiny"]
    for model in answer["models"]:
        card = json.loads((models_dir / model["name"] / "card.json").read_bytes())
        assert model["model_id"] == card["model_id"]
        assert model["shape"] == [card["image"][side] for side in ("height", "width", "channels")]
        # Tables and golden data take most of a card.
        assert len(json.dumps(model)) < 1000


def test_models_shows_one_card(client: Client, models_dir: Path) -> None:
    assert client.get("/models/other").json() == json.loads(load_card(models_dir / "other").to_json())


def test_models_refuses_an_unknown_name(client: Client) -> None:
    for name in ("nobody", "%00", "%2e%2e%2fetc", "a" * 5000):
        response = client.get(f"/models/{name}")
        if response.json()["code"] != "not-found":
            assert_problem(response, 404, "unknown-model", "other, tiny")
