"""A run to a published model: export, calibration, the guard's limits, evaluation and the card."""
