"""The codec for images of any size: latents, their entropy model, and the parts that both are computed in."""
