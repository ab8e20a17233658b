"""The names of the tasks that come with TriPosT; the modules of `problems` and of the scripted experts bear them."""

TASKS = ("multistep_arithmetic", "word_sorting", "date_understanding", "logical_deduction")
TASKS_WITH_CHECKS = ("multistep_arithmetic", "word_sorting")
"""Those whose script can show its workings (`expert.checks`)."""
