from .featurizer import FeaturizeReport as FeaturizeReport
from .featurizer import featurize as featurize
from .molecules import from_mol as from_mol
from .molecules import from_pdb as from_pdb
from .molecules import from_sdf as from_sdf
from .molecules import from_smiles as from_smiles
