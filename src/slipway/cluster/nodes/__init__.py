"""Nodes: agents that register a Node, run the pods bound to it, and answer the API server's questions about them.

A pod enters through `agent`, which gives it a `pod_worker`; that prepares `volumes`, asks a `runtime` for a
sandbox, and supervises each container (`container`): `images` says what a name means, `variables` what it sees,
`probes` how it is, `logs` what it said. `pod_status` turns what is known into the status that the API shows.
Runtimes: `processes` (plain child processes), `namespaces` (Linux namespaces), `simulated` (nothing at all).
"""
