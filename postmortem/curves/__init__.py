"""Curves: change points and shapes."""
