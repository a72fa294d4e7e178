"""Dynamic batching of short work in an event loop, and the cost model that tells which work is short."""
