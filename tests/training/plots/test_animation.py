from training.plots.animation import MAX_FRAMES, choose_epochs


def test_all_epochs_of_a_short_run_are_shown() -> None:
    assert choose_epochs([1, 2, 5]) == [1, 2, 5]


def test_a_long_run_is_shown_densely_at_its_start_and_to_its_end() -> None:
    chosen = choose_epochs(list(range(1, 501)))
    assert chosen[:5] == [1, 2, 3, 4, 5]
    assert chosen[-1] == 500
    assert len(chosen) <= MAX_FRAMES
    assert chosen == sorted(set(chosen))
