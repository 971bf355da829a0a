"""What an agent's Job is made of: request, runtime, manifest, environment, clone.

No I/O here. Knows neither Prefect nor a Kubernetes client; the time is an argument.
"""
