"""Compares pre-trained with random weights of one architecture: see ``--help``."""

from molae_pyg.evaluation.transfer import main

if __name__ == "__main__":
    main()
