"""What an operator asks: states, counts, retention, audits, and what a deploy would do."""
