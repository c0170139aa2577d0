"""What is raised where packages are missing and stay so."""

from __future__ import annotations


class DependencyError(Exception):
    """What is missing, and what to do; a sentence for the user."""
