"""What a report counts, in one pass over the column files: shard by shard, so memory does not grow with the data.

layout     which table has which column files: one listing for all shards
reading    columns of one shard, whatever is broken; long texts a few hundred rows at a time
survey     which columns are worth counting, and between which edges: from a few shards
verdicts   who was kept, and which filters spoke against the others
edges      round numbers to count between, with a filter's bounds among them
bars       histograms, with what would stay if a bound moved
tally      how often each value occurs, in bounded memory
values     languages, hosts, licences, concepts ...
overlap    which filters drop the same rows
downloads  what became of the fetches, by class and host
units      one pass of all these over samples, documents or parts
ledger     what commits and the manifest tell: funnel, seconds, bytes
"""
