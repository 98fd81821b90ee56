"""Searches the settings of a model by its score on the validation rows: see ``--help``."""

from molae_pyg.evaluation.search import main

if __name__ == "__main__":
    main()
