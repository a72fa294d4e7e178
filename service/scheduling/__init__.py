"""When work runs: admission, dynamic batching and its cost model."""
