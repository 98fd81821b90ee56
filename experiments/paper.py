"""Repeats tables and figures of the Mol-AE paper: see ``--help``."""

from molae_pyg.evaluation.paper import main

if __name__ == "__main__":
    main()
