"""``molae embed``: a file of molecules becomes a file of vectors."""

import argparse

_DESCRIPTION = """\
Writes the vector of every molecule of a file, or of every atom.

All rows come out in order, with a status; rows that give no molecule have no vector and a
reason. The file may be of any length."""


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "embed",
        help="write vectors of molecules or atoms",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=_embed)
    add = parser.add_argument
    add("data", metavar="DATA", help=".smi, .txt, .csv, .tsv or .sdf (also with .gz)")
    add("out", metavar="OUT", help="file to write: .csv, .npz or .parquet (needs pyarrow)")
    add(
        "--weights",
        default="molae-small",
        metavar="NAME",
        help="weights by name, or the folder of a model; default: molae-small",
    )
    add("--level", choices=("molecule", "atom"), default="molecule", help="default: molecule")
    add("--conformers", type=int, metavar="K", help="to average over; default: 1, or the model's")
    add("--workers", type=int, metavar="N", help="processes for conformers; default: one a core")
    add("--encoding", default="utf-8", help="of the file, such as latin-1; default: utf-8")


def _embed(
    data: str,
    out: str,
    weights: str,
    level: str,
    conformers: int | None,
    workers: int | None,
    encoding: str,
) -> None:
    from molae_pyg.checkpoint import saved_class
    from molae_pyg.inference import embed_file
    from molae_pyg.model_files import find_folder
    from molae_pyg.models import MolAEEncoder, MolAEPredictor

    folder = find_folder(weights)
    is_predictor = saved_class(folder) == "MolAEPredictor"  # which knows how molecules are made
    model = (MolAEPredictor if is_predictor else MolAEEncoder).from_pretrained(folder)
    print(embed_file(model, data, out, level, conformers, workers=workers, encoding=encoding))
