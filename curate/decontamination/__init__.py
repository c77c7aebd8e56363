"""What must not be in a data set: what evaluations hold, and what its owners or the law took back."""
