"""How controllers, scheduler and nodes talk to an API server, embedded or real."""
