"""The middleware around every route: instrumentation, and authentication if keys are set."""
