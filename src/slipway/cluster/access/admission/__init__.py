"""Admission: what may change or refuse a write after authorization, in the API server's order.

`chain` runs the plug-ins: first all that may change (in-tree ones, then mutating webhooks), then, once the object
is valid, all that only judge. Each plug-in is a module; what a plug-in does not concern it lets pass.
"""
