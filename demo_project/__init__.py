"""A demo of syncreset: ramp checks at the three New York airports, on real flights of 2013."""
