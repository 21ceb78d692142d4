"""Upgraded connections of the API: exec, attach and port-forward over WebSocket and SPDY/3.1.

`remote_command` and `port_forward` answer a request with an upgrade and then carry bytes between the client and
the node (`kubelet.Session`, `exchange.Duplex`). Below them are two carriers: `channels` (numbered channels in
WebSocket messages, framed by `websocket`) and `spdy` (streams, framed by `spdy_frames`).
"""
