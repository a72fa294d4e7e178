"""Sockets, TLS, worker processes and signals. These modules do not depend on the routes."""
