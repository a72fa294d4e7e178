"""Drives the real server for long, with good requests and hostile ones mixed: `python -m tests.soak --minutes 10`.

Every answer is known beforehand, as the codec gives it in this process: right to the byte, or the refusal that the
documentation tells. What counts as a failure: a wrong answer, a 5xx, an answer that does not come, a traceback in the
log, and places, files or memory that are not given back.
"""
