"""The media types of request and response bodies, each under one name."""

JSON = "application/json"
OCTETS = "application/octet-stream"
NPY = "application/x-npy"
FORM = "multipart/form-data"
PNG = "image/png"
WEBP = "image/webp"
