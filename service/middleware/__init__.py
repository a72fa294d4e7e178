"""What every request passes before its route: instrumentation, and authentication if keys are set."""
