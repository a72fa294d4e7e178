"""Sockets, processes and signals. Knows no route."""
