"""Compares models on molecular data sets under a named protocol: see ``--help``."""

from molae_pyg.evaluation.compare import main

if __name__ == "__main__":
    main()
