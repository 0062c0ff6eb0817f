"""The universal executor ``py``: runs the functions of ``@remote``. See ``rain.client.pycode``."""
