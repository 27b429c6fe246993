"""The pure floor: what a DAG means and what a run needs next, with no clock, IO or library."""
