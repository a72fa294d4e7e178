"""The models that this process serves, and whether it is ready to."""
