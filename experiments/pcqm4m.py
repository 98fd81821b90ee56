"""Trains and evaluates Mol-AE on PCQM4Mv2: see ``--help``."""

from molae_pyg.evaluation.pcqm4m import main

if __name__ == "__main__":
    main()
