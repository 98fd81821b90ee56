"""Targets that have one value for each atom: fit, model, scores and output."""
