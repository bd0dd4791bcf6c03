"""The paper's own numbers, and what is doubtful in them."""
