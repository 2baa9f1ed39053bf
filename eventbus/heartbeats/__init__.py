"""Signs of life: each process says that its work goes round, by a row for the others and a file for its host."""
