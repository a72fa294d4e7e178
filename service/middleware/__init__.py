"""The middleware around every route: instrumentation, cross-origin sharing and authentication if they are set."""
