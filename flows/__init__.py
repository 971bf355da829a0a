"""Entrypoints: one flow a module, a page each; around them their hooks and the command line.

A flow is a sequence of stages and nothing else: no parsing, no Kubernetes client.
"""
