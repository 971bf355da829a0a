"""Entrypoints: one flow per module, one page each; with their hooks and the command line.

A flow opens the connections that its stages need and names the stages in order: no parsing of
answers, no manifest, no rule.
"""
