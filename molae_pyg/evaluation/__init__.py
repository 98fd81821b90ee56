"""Evaluation: comparisons of models on molecular data sets (experimental: names may still change).

Each of these modules is a command, ``python -m molae_pyg.evaluation.<name>``: ``compare`` (models
on data sets), ``report`` (a page of finished runs), ``rerun``, ``search`` (settings), ``transfer``
(does pre-training help), ``leaderboard`` and ``submission`` (OGB), ``pcqm4m``, ``pretraining``.
``--config`` takes the name of settings that ship with the package, such as ``quick``, or a path.
"""
