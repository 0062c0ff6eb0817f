"""One module for each group of cases. ``cases(quick, cpus)`` is a context manager: it starts what
the group needs and gives the list of its cases."""
