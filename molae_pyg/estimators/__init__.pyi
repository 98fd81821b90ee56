from .featurizer import MolAEFeaturizer as MolAEFeaturizer
from .supervised import MolAEClassifier as MolAEClassifier
from .supervised import MolAERegressor as MolAERegressor
