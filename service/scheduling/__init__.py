"""When work runs: admission, dynamic batching and the cost model that chooses between event loop and thread."""
