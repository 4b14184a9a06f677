"""One tracked model with every field type, and one for each kind of primary key."""
