"""The models of this process, and the check that they give their golden results."""
