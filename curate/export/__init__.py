"""One file per consumer of the finished data set."""
