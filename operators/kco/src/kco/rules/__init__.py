"""When to act: conditions, edges, holds, cooldowns, budgets; pure functions of a memory and a moment."""
