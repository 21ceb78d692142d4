"""Every object under one growing revision: transactions, history, watches; in memory or in SQLite."""
