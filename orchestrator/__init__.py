"""A workflow orchestrator on Celery: DAGs in Python, SQL as the truth, milliseconds between tasks."""

__version__ = "0.1.0"
