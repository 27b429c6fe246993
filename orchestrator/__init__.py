"""A workflow orchestrator on Celery: DAGs in Python, SQL as the truth, quick between tasks."""

__version__ = "0.1.0"
