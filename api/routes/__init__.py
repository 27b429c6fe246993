"""Which paths are there: one module for each resource."""
