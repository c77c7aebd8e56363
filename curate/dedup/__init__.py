"""What is there more than once: copies of documents, and parts that many documents have. Columns, never a drop.

The one difficulty is that equal rows lie in different shards. `exchange` brings them together by hash, through files,
in memory that does not grow with the data set; a barrier says which rows, and what to answer about equal ones.
"""
