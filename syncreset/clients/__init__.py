"""Who syncs, what each may hold, and whether it may go on or must reset."""
