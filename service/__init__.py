"""The HTTP service around the library: routes, limits, scheduling, metrics. It never imports `training`."""
