"""What the README claims, measured again by one command each. Stands on `codec`, and on `training` for data sets."""
