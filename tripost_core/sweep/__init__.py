"""`tripost sweep`: many runs that differ in a few settings, and the one table that compares them.

spec.py      SWEEP.yaml into cells: (row of the table, seed, configuration)
results.py   what the cells' answers come to: means, 95 % intervals, paired differences
page.py      the table on a terminal, as CSV and as a page with plots
"""
