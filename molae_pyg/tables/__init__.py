"""Tables: text files become columns, columns become SMILES and targets."""
