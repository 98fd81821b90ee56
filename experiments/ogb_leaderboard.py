"""Evaluates models on OGB leaderboard data sets (ogbg-mol*): see ``--help``."""

from molae_pyg.evaluation.leaderboard import main

if __name__ == "__main__":
    main()
