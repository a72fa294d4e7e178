"""What a request leaves behind: metrics, traces and log lines."""
