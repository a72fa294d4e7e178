"""The routes: one file per route, and what only routes need."""
