"""What the demo DAG does with its data sets, apart from the DAG itself: plain, testable Python."""
