"""Request and response bodies: how they are read, checked and written, whole or as streams."""
