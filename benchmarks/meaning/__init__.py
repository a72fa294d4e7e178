"""Whether images mean the same after encoding and decoding: class changes, lost and invented marks, blends."""
