"""Models for images of any size against JPEG, WebP and AVIF: rate and distortion of photographs."""
