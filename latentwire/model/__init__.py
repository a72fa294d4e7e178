"""A model's folder: its card, its files, and its ONNX graphs as sessions."""
