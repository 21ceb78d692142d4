"""How controllers, scheduler and nodes talk to an API server, embedded or real.

`client` has the verbs, `transport` (in process) and `http` (by kubeconfig) carry them, `resources` say about
what; `discovery` asks what there is. `informer` keeps a local copy, `queue` what is to be done, `events` tells
people. `objects`, `selectors`, `quantities`, `placement` and `storage` read plain objects.
"""
