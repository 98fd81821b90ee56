"""Evaluation: protocols, compared models, runs on disk, significance, reports, leaderboards."""
