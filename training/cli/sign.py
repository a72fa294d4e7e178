"""`sign`: published models -> signatures."""

import argparse
import getpass

from training.release.sign import read_private_key, sign_model


def sign(arguments: argparse.Namespace) -> int:
    """Sign published models."""
    key = read_private_key(arguments.key, lambda: getpass.getpass(f"passphrase of {arguments.key}: ").encode())
    for folder in arguments.models:
        print(f"signed {folder}: {sign_model(folder.resolve(), key).name}")
    return 0
