"""One pod's life on the node: its containers, and what is reported of them."""
