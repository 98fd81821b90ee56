"""Tables: text files become columns, columns become molecules and targets."""
