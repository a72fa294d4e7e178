"""Bytes against PSNR, of the shipped models and of the classical codecs: `python -m benchmarks.rate_distortion`.

`classical` has the classical codecs and their settings; `measure` takes images through them, or through a model, and
gives `points`; `tables` and `plots` show what these say.
"""
