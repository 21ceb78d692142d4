"""The command `kco`: one module a subcommand, no logic of its own."""
