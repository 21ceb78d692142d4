"""What each kind does on create, update and delete, in the order in which a request meets it."""
