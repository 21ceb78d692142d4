"""The running operator: TargetApps to live targets, their status, leadership, and the process around it."""
