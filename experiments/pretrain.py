"""Pre-trains Mol-AE with the 3D Cloze Test: see ``--help``."""

from molae_pyg.evaluation.pretraining import main

if __name__ == "__main__":
    main()
