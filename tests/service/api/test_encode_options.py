import pytest

from latentwire.errors import InvalidParameter
from latentwire.options import OnOod
from service.api.encode_options import EncodeOptions, parse_encode_options, parse_verify


def parse(on_ood: OnOod = "fallback", has_decoder: bool = True, **parameters: str) -> EncodeOptions:
    return parse_encode_options(parameters, on_ood, has_decoder=has_decoder)


def test_without_parameters_the_defaults_hold() -> None:
    assert parse() == EncodeOptions(None, "strict", "auto", "full", "fallback", None, None, None, None, None, True)
    assert parse(on_ood="warn").on_ood == "warn"


def test_a_request_goes_before_the_setting() -> None:
    assert parse_encode_options({"on_ood": "refuse"}, "warn", has_decoder=True).on_ood == "refuse"


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1", 1), (".5", 0.5), ("0.01", 0.01), ("1e-3", 0.001)])
def test_max_mse_takes_numbers_from_0_to_1(text: str, value: float) -> None:
    assert parse(max_mse=text).max_mse == value


@pytest.mark.parametrize(
    "text", ["", "-1", "-0.1", "nan", "inf", "1.5", "1e9", "1e-999999", "1_0", "0x1", "٣", " 1", "1" * 99, "a", "."]
)
def test_max_mse_takes_no_others(text: str) -> None:
    with pytest.raises(InvalidParameter, match="max_mse takes a number from 0 to 1"):
        parse(max_mse=text)


@pytest.mark.parametrize("text", ["", "0", "00", "-5", "1.0", "1e3", "nan", "9999999999", "٣", " 1", "ten"])
def test_target_bytes_takes_whole_numbers_from_1(text: str) -> None:
    with pytest.raises(InvalidParameter, match="target_bytes takes a whole number from 1"):
        parse(target_bytes=text)


def test_quality_takes_numbers_from_0_to_100() -> None:
    assert [parse(quality=text).quality for text in ("0", "33.3", "100", "1e2")] == [0, 33.3, 100, 100]
    for text in ("", "-1", "100.1", "nan", "inf", "best"):
        with pytest.raises(InvalidParameter, match="quality takes a number from 0 to 100"):
            parse(quality=text)


def test_effort_takes_1_2_and_3() -> None:
    assert [parse(effort=text).effort for text in "123"] == [1, 2, 3]
    for text in ("", "0", "4", "1.0", "high", "²"):
        with pytest.raises(InvalidParameter, match="effort takes 1, 2 or 3"):
            parse(effort=text)
    with pytest.raises(InvalidParameter, match="effort needs the decoder"):
        parse(effort="2").check_for_any_size(has_decoder=False)
    parse(effort="1").check_for_any_size(has_decoder=False)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"target_bytes": "20", "model": "tiny"}, "leave out model, or target_bytes"),
        ({"min_psnr": "20", "model": "tiny"}, "leave out model, or min_psnr"),
        ({"quality": "20", "model": "tiny"}, "models for images of any size"),
        ({"effort": "2", "model": "tiny"}, "effort is for models for images of any size"),
    ],
)
def test_what_chooses_a_quality_does_not_go_with_a_vector_model(parameters: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        parse_encode_options(parameters, "warn", has_decoder=True).check_for_vector()


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e999", "high"])
def test_min_psnr_takes_numbers_from_0(text: str) -> None:
    with pytest.raises(InvalidParameter, match="min_psnr takes a number of dB, 0 or more"):
        parse(min_psnr=text)


def test_min_psnr_takes_more_than_any_code_reaches() -> None:
    assert parse(min_psnr="1000").min_psnr_db == 1000


@pytest.mark.parametrize("text", ["", "ignore", "FALLBACK", "x" * 999])
def test_on_ood_takes_three_words(text: str) -> None:
    with pytest.raises(InvalidParameter, match="on_ood takes refuse, warn or fallback") as caught:
        parse_encode_options({"on_ood": text}, "warn", has_decoder=True)
    assert len(str(caught.value)) < 200


def test_check_takes_two_words_and_one_only_where_images_are_decoded() -> None:
    assert parse_verify("latent", has_decoder=False) == "latent"
    assert parse_verify("reconstruction", has_decoder=True) == "reconstruction"
    with pytest.raises(InvalidParameter, match="this sender with --verify-reconstruction"):
        parse_verify("reconstruction", has_decoder=False)
    with pytest.raises(InvalidParameter, match="verify takes latent or reconstruction, not 'all'"):
        parse_verify("all", has_decoder=True)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"target_bytes": "20", "min_psnr": "20"}, "ask for one of them"),
        ({"quality": "20", "min_psnr": "20"}, "ask for one of them"),
        ({"min_psnr": "20", "max_mse": "0.1"}, "both limit the error"),
    ],
)
def test_options_that_contradict_one_another_are_refused(parameters: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        parse_encode_options(parameters, "warn", has_decoder=True)


def test_an_error_that_nobody_sees_is_not_limited() -> None:
    with pytest.raises(InvalidParameter, match="this sender with --verify-reconstruction"):
        parse(has_decoder=False, max_mse="0.1")
