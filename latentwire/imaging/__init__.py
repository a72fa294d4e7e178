"""Image files to pixels and back, within bounds."""
