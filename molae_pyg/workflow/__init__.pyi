from .atoms.fit import fit_atoms as fit_atoms
from .atoms.model import AtomModel as AtomModel
from .fit import fit as fit
from .folds import make_folds as make_folds
from .model import FittedModel as FittedModel
from .report.page import write_report as write_report
from .sd_file import molecules_of_sdf as molecules_of_sdf
from .settings import FitSettings as FitSettings
