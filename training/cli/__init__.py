"""The command line of training: `main` runs a command, `parser` defines its options, the other modules do its work."""
