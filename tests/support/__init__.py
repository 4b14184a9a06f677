"""What several tests share: it holds no tests, and imports none."""
