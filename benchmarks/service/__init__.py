"""How fast the service is, compared with its unavoidable work: `python -m benchmarks.service`.

`servers` starts the real service, and `baseline_app`, a FastAPI route that only reads its body; `load_generator` drives
both with wrk. `in_process` measures the unavoidable steps alone: image files and graphs. `suites` holds the
measurements, `targets` the figures that the project promises, `tables` their Markdown. `compare` measures the services
of two checkouts.
"""
