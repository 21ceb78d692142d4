"""The loop that reads the inverter: session (one at a time) -> scan -> readings -> exports and api."""
