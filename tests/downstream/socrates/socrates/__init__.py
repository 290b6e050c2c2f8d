"""Socrates: asks until a project is specified."""
