"""Experiments and reports on trained models."""
