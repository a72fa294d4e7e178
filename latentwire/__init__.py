"""Images to codes and back: the contract that the service and the training stand on.

Names follow the learned-compression papers: `x` image, `y` code, `symbols` integers, `y_hat` code after quantization,
`x_hat` reconstruction. A sender imports `latentwire.encoder`, a receiver `latentwire.decoder`; neither needs the other.
"""
