"""Many studies: an index of them, each examined once whatever dies, and tables and a page of what was found.

::

    entries     one study a line, read a line at a time
    indexing    folders → entries
    state       which study is whose, in SQLite: leases, and one transaction for each claim
    jobs        what is done with a study: commands of `klip`, each in a process of its own
    worker      claims, runs, records, until nothing is left
    runner      several workers of one computer, started again when they die
    shards      the same on many computers: Slurm, Ray, or processes
    outcome     a finished folder → rows of tables
    tables      verdicts.csv, regions.csv, Parquet
    overview    overview.html
"""
