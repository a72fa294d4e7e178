"""How fast the service is, beside what it cannot do without: `python -m benchmarks.service`.

`servers` starts the real service, and `empty` beside it, a FastAPI route that only reads its body; `load` drives them
with wrk or, where there is none, with `clients`. `inside` measures alone what a request cannot do without. `parts` are
the measurements, each of which compares in turns; `figures` and `tables` say what they come to.
"""
