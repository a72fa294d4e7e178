"""The byte formats: one image's bitstream, the container of many, and the lossless fallback."""
