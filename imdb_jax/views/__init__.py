"""What people see: predictions, tables and figures."""
