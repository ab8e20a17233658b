"""From edited trajectories to training rows (paper section 2.3): split, filter, balance.

Every step works on columns of Arrow and polars, a batch of rows at a time; `benchmarks/plain_replay.py` is the same on
lists of dictionaries, row by row, and `tests/test_replay_columns.py` holds the two together. A triplet that is dropped
stays in the buffer with `kept` false and the reason, so that the report can count it.
"""
