"""Nodes that run pods: simulated, as local processes, or in Linux namespaces.

In the order in which a pod meets them: `agent` watches the pods of a node and holds one `pod_state` for each;
`pod_step` decides, purely, what is to be done next; `pod_worker` does it with the help of `images`, `volumes`,
`container_environment`, `probes` and a `runtime`; `pod_status` words what came of it for the API. `kubelet_service` answers
the API server's questions (logs, exec, …). `services` and `dns` make Service addresses and names work.
"""
