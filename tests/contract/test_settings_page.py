from service.settings import Settings
from tests.contract.settings_page import COMMAND, PAGE, settings_page


def test_the_page_of_settings_is_that_of_the_source() -> None:
    assert PAGE.read_text(encoding="utf-8") == settings_page(), f"write it anew: {COMMAND}"


def test_every_setting_has_a_row_with_a_meaning() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description
        assert f"`LATENTWIRE_{name.upper()}`" in settings_page()
