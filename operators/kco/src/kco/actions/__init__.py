"""Acting: the ledger of ActionRuns, the queue that runs them, the handlers, and how others add theirs."""
