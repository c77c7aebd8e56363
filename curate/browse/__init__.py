"""What `curate browse` answers with: any condition on the columns of a data set, one row with its story, its copies.

    catalog.py      which columns there are, in which files, how many rows
    find.py         the rows that a condition is true of, page by page, within a time
    scan.py         one condition's way through the shards
    history.py      what every stage said of one row
    near.py         the copies of one row, of every kind
    selection.py    what was found, as a config that `curate run` runs
    server.py       HTTP within bounds; access.py: who may ask; answer.py: requests and answers as data
    pages.py        which page an address is; list_page, sample_page, document_page, overview_page: what each shows
    picture_shelf.py  pictures by shard and key, made small or withheld; recent.py: what was read a moment ago

Nothing is written, and no file outside the data set is read. A condition is checked by `curate.condition` before
anything runs it.
"""
