"""What an agent's Job is called, made of, means and ended as.

No I/O here. Knows neither Prefect nor a Kubernetes client; the time is an argument.
"""
