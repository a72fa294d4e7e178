from service.settings import Settings
from tests.contract.settings_page import COMMAND, PAGE, TOPICS, settings_page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), f"generate it again: {COMMAND}"


def test_every_setting_has_a_row_with_a_meaning() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"`LATENTWIRE_{name.upper()}`" in settings_page()


def test_every_topic_begins_at_a_setting() -> None:
    assert set(TOPICS) <= set(Settings.model_fields)
    assert next(iter(Settings.model_fields)) in TOPICS
