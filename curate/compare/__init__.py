"""What changed between two runs, or would change under another config: rows gained and lost, and for which reasons.

    curate compare data/a data/b              what two data sets decided
    curate compare data/a new.toml            what a config would decide in a data set, before it is run
    curate compare a.toml b.toml --on data/a  two configs on one data set

    sides      the two that are compared: their settings, and the verdict on each row of a shard
    judging    a config's decisions on columns that are there, in memory
    matching   the same row in both, wherever it lies
    compare    the counts: `compare(a, b)` gives all that `told`, `terminal` and `page` tell

Everything is counted from one table: rows by (verdict in A, verdict in B). Kept, undecided and absent are verdicts like
any reason, so gained, lost and only-in-A are cells of it and nothing can be counted twice. A million rows against a
million in other shards take 6 CPU seconds and 360 MiB, a config on a million rows 2 s and 190 MiB.
"""
