"""Baselines: what a pre-trained model is compared with."""
