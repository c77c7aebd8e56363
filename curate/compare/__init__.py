"""What changed between two runs, or would change under another config: rows gained and lost, and for which reasons.

    curate compare data/a data/b              what two data sets decided
    curate compare data/a new.toml            what a config would decide in a data set, before it is run
    curate compare a.toml b.toml --on data/a  two configs on one data set

    sides      the two that are compared: their settings, and the verdict on each row of a shard
    judging    a config's decisions on columns that are there, in memory
    matching   the same row in both, wherever it lies
    compare    the counts; settings, scores and drawn samples in modules of their own

Everything is counted from one table: rows by (verdict in A, verdict in B). Kept, undecided and absent are verdicts like
any reason, so gained, lost and only-in-A are cells of it and nothing can be counted twice.
"""
