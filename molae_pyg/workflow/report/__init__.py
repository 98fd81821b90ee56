"""``report.html`` of a fitted model."""
