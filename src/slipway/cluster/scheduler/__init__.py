"""Where a pod runs: filters, scores, preemption, binding."""
