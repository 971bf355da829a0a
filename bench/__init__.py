"""Programs that measure what the package claims, beside what people would use instead."""

import os

# Prefect reads it once, when it is imported; what a peer logs is not what is measured.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
