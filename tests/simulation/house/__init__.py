"""What the simulated devices work on: a house with rooms, and the things in them."""
