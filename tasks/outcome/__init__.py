"""How a run ended: facts, precedence, cause, diagnosis, result, and the pages that report it.

No I/O here. A verdict never claims more than the facts show, and all its sentences are built here.
"""
