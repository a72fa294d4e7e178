"""Drives the real service for minutes with valid, hostile and misbehaving clients: `python -m tests.soak --minutes 10`.

The correct response to each request is computed beforehand by the library in this process: its exact bytes, or the
refusal that docs/API.md describes. A soak fails on a wrong response, a 5xx, a missing response, a traceback in a log,
and on queue places, files or memory that are not released.

By default the service is two replicas behind the edge, and the last part of the soak stops and kills replicas.
"""
