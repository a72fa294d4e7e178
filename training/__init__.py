"""Offline training: recipe -> dataset -> autoencoder -> two ONNX graphs -> a published model."""
