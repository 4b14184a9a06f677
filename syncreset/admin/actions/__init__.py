"""What is done to several records, each asked before."""
