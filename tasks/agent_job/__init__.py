"""The parts of an agent's Job: request, runtime, manifest, environment, clone.

No I/O here. Knows neither Prefect nor a Kubernetes client; time is an argument.
"""
