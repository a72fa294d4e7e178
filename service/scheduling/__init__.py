"""Admission: how many requests run, wait and hold bytes, and which of them run in the event loop or in a thread."""
