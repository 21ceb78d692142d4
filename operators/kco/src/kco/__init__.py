"""Kubernetes Control Operator: watches applications through GraphQL, raises Events, acts."""
