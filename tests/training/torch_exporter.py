"""Makes torch's ONNX exporter build its table of operators once, and not for each of the many exports of the tests.

That takes a third of the time of a small export. torch has no public option for it; where its internals differ, exports
are as slow as usual.
"""

from contextlib import suppress
from functools import cache


def share_operators() -> None:
    """Let all exports of this process use one table of operators."""
    with suppress(ImportError, AttributeError):
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        if not hasattr(ONNXRegistry.from_torchlib, "cache_info"):
            ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]
