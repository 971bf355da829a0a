"""Entrypoints: one flow per module, one page each; with their hooks and the command line.

A flow is a sequence of stages and nothing else: no parsing, no Kubernetes client.
"""
