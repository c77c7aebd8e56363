"""Balance: fewer of what is everywhere, all of what is rare; the last decision before a data set leaves.

    metadata    the list of concepts, read from a file         vocabulary   the same, built from a corpus and WordNet
    matching    captions to numbers of concepts                automaton    how, word by word
    metaclip    caps what each concept gets (MetaCLIP)         draws        its arithmetic     curve   its report
    soft_cap    draws with multiplicities by a score (SCS)     rounds       its arithmetic
    clusters    a share for each cluster of pictures (DBP)     targets      its arithmetic
    caps        at most n rows of a host or a language         places       the order within each, at any sharding
    corpus, ngrams   what a list is built from                 extras       what has to be installed

Every draw is a hash of what the row is and of a seed, never a random generator, so neither the order of rows nor the
number of shards or workers has a say.
"""
