"""An animal shelter: the tracked models that most tests use."""
