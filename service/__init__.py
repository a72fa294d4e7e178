"""The HTTP skin of the codec: `POST /encode` and `POST /decode`. Knows nothing of training."""
