"""A Kubernetes client that speaks raw JSON: configuration, requests, watches, exec, leases.

Raw JSON and not generated classes: an operator needs about ten endpoints, and the generated client costs
more memory than all the rest of the operator.
"""
