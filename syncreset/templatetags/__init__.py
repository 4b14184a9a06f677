"""What syncreset's templates of the admin ask for."""
