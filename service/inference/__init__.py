"""The loaded models, and the check that they give their golden results."""
