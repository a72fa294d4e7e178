"""Integers to bits and back: the quantizer, the exact arithmetic coder, and rANS for containers."""
