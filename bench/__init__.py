"""Programs that measure what the package claims, beside what people would use instead."""
