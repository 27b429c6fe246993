"""What the API answers: Airflow's public shapes, made from the views."""
