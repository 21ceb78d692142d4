"""The controllers of kube-controller-manager, each an ordinary API client.

`runner` starts what `registrations` lists, each as an account of its own (`roles`). A `controller` is informers
that fill a queue and a `reconcile` that empties it. Most decide in a pure `step` function: objects in, `writes`
out, which `effects` carries out and waits to see come back. The rest of the folder is one module a controller,
and beside it what it decides with: `rollout` for Deployments, `ownership_graph` for garbage collection,
`job_failures` and `index_sets` for Jobs, `cron` for CronJobs, `service_backends` for both kinds of endpoints,
`revisions` for StatefulSets and DaemonSets, `pods`, `conditions`, `hashing` and `ownership` for all.
"""
