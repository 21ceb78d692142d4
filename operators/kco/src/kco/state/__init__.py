"""What an application said: bytes to a state, values at paths, differences between two states."""
