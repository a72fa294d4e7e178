"""Programs that measure the figures in the documentation. They use `latentwire`, and `training` for data sets."""
