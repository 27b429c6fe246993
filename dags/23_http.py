"""23 HTTP: ask a server that a Connection names; here, how this orchestrator is.

    orchestrator connections add own_api --uri -    # and type http://127.0.0.1:8080

Without the Connection there is nothing to ask, and the rest is skipped.
"""

from orchestrator.sdk import DAG, AirflowNotFoundException, Connection, HttpOperator, task

with DAG(
    dag_id="http",
    description="HttpOperator with a check and a filter of its answer, if its Connection is there.",
    tags=["tutorial"],
):

    @task.short_circuit
    def has_a_server() -> bool:
        try:
            return bool(Connection.get("own_api").host)
        except AirflowNotFoundException as error:
            print(f"nothing to ask: {error}")
            return False

    health = HttpOperator(
        task_id="health",
        http_conn_id="own_api",
        method="GET",
        endpoint="api/v2/monitor/health",
        response_check=lambda response: response.json()["metadatabase"]["status"] == "healthy",
        response_filter=lambda response: sorted(response.json()),
        retries=1,
        retry_delay=1,
    )

    @task
    def tell(parts: list[str]) -> str:
        return f"asked after {len(parts)} parts"

    has_a_server() >> health
    tell(health.output)
