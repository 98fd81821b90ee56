"""Baselines that a pre-trained model is compared with (experimental: names may still change).

A baseline is one file with a function from a :class:`~molae_pyg.baselines.job.Job` to a
:class:`~molae_pyg.baselines.job.Fitted`, and one line in
:data:`molae_pyg.evaluation.models.MODELS`.
"""
