"""How long to wait for a client that sends or takes little: time that it is waited for is spent, and bytes earn some.

So only that time counts in which nothing but the client is waited for. What the bytes are is not known here.
"""

# Of the longest time without a byte: so that one such time and a little more is no reason to give a client up.
WINDOW = 2


class Patience:
    """With one client, at one thing."""

    def __init__(self, io_idle_timeout_s: float, min_data_rate_bytes_per_s: float) -> None:
        """Begin with all of it.

        Args:
            io_idle_timeout_s: longest time without a byte.
            min_data_rate_bytes_per_s: least rate, on the average of the last two such times; 0 asks for none.
        """
        self._most_s = WINDOW * io_idle_timeout_s if min_data_rate_bytes_per_s else float("inf")
        self._earned_s = 1 / min_data_rate_bytes_per_s if min_data_rate_bytes_per_s else 0
        self.left_s = self._most_s

    def spend(self, waited_s: float, moved_bytes: int) -> None:
        """Take note of a time that the client was waited for, and of what it sent or took in it."""
        self.left_s = min(self._most_s, self.left_s - waited_s + moved_bytes * self._earned_s)
