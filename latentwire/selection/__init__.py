"""Which bitstream is sent: the guard against out-of-distribution images, and the ladder of models."""
