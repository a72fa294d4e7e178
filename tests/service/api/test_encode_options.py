import pytest

from latentwire.options import OnOod
from service.api.encode_options import EncodeWishes, read_verify, read_wishes
from service.errors import InvalidParameter


def wishes(on_ood: OnOod = "fallback", sees_delivered: bool = True, **parameters: str) -> EncodeWishes:
    return read_wishes(parameters, on_ood, sees_delivered=sees_delivered)


def test_without_parameters_the_defaults_hold() -> None:
    assert wishes() == EncodeWishes(None, "strict", "full", "fallback", None, None, None)
    assert wishes(on_ood="warn").on_ood == "warn"


def test_a_request_goes_before_the_setting() -> None:
    assert read_wishes({"on_ood": "refuse"}, "warn", sees_delivered=True).on_ood == "refuse"


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("1", 1), (".5", 0.5), ("0.01", 0.01), ("1e-3", 0.001)])
def test_max_mse_takes_numbers_from_0_to_1(text: str, value: float) -> None:
    assert wishes(max_mse=text).max_mse == value


@pytest.mark.parametrize(
    "text", ["", "-1", "-0.1", "nan", "inf", "1.5", "1e9", "1e-999999", "1_0", "0x1", "٣", " 1", "1" * 99, "a", "."]
)
def test_max_mse_takes_no_others(text: str) -> None:
    with pytest.raises(InvalidParameter, match="max_mse takes a number from 0 to 1"):
        wishes(max_mse=text)


@pytest.mark.parametrize("text", ["", "0", "00", "-5", "1.0", "1e3", "nan", "9999999999", "٣", " 1", "ten"])
def test_target_bytes_takes_whole_numbers_from_1(text: str) -> None:
    with pytest.raises(InvalidParameter, match="target_bytes takes a whole number from 1"):
        wishes(target_bytes=text)


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e999", "high"])
def test_min_psnr_takes_numbers_from_0(text: str) -> None:
    with pytest.raises(InvalidParameter, match="min_psnr takes a number of dB, 0 or more"):
        wishes(min_psnr=text)


def test_min_psnr_takes_more_than_any_code_reaches() -> None:
    assert wishes(min_psnr="1000").min_psnr_db == 1000


@pytest.mark.parametrize("text", ["", "ignore", "FALLBACK", "x" * 999])
def test_on_misfit_takes_three_words(text: str) -> None:
    with pytest.raises(InvalidParameter, match="on_ood takes refuse, warn or fallback") as caught:
        read_wishes({"on_ood": text}, "warn", sees_delivered=True)
    assert len(str(caught.value)) < 200


def test_check_takes_two_words_and_one_only_where_images_are_decoded() -> None:
    assert read_verify("latent", sees_delivered=False) == "latent"
    assert read_verify("reconstruction", sees_delivered=True) == "reconstruction"
    with pytest.raises(InvalidParameter, match="this sender with --verify-reconstruction"):
        read_verify("reconstruction", sees_delivered=False)
    with pytest.raises(InvalidParameter, match="verify takes latent or reconstruction, not 'all'"):
        read_verify("all", sees_delivered=True)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"target_bytes": "20", "min_psnr": "20"}, "ask for one of them"),
        ({"target_bytes": "20", "model": "tiny"}, "leave out model, or target_bytes"),
        ({"min_psnr": "20", "model": "tiny"}, "leave out model, or min_psnr"),
        ({"min_psnr": "20", "max_mse": "0.1"}, "both say how good"),
    ],
)
def test_wishes_that_contradict_one_another_are_refused(parameters: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        read_wishes(parameters, "warn", sees_delivered=True)


def test_an_error_that_nobody_sees_is_not_limited() -> None:
    with pytest.raises(InvalidParameter, match="this sender with --verify-reconstruction"):
        wishes(sees_delivered=False, max_mse="0.1")
