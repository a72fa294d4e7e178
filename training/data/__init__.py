"""Data sets: downloading, reading and splitting them."""
