"""How a run ended: facts, precedence, cause, diagnosis, result, and the pages that tell it.

No I/O here. A verdict is never better than the facts, and every sentence of it is written here.
"""
