"""What the tasks leave in Prefect, without Prefect."""
