"""An embedded Kubernetes: control plane and nodes in one Python process, pods as processes of their own.

From the ground up: `clock`, `exchange` and `kubelet` are the words that all floors share; `schema` knows
kinds, `store` keeps objects, `patching` changes them, `registry` says what each kind does, `access` says who
may, `server` speaks HTTP; `client` is how `controllers`, `scheduler` and `nodes` talk to all that, exactly as
they would to a real cluster; `environment` starts and stops everything.
"""
