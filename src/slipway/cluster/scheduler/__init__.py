"""Where a pod runs: filters, scores, preemption, binding.

`scheduler` watches and binds; `ledger` knows what is where; `decision` chooses, asking `filters`, `neighbours`
(affinity and spread) and `volumes`. All but the first are pure.
"""
