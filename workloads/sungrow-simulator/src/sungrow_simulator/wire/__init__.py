"""The wire side: everything between a client's socket and the register state.

listener (one port: its connections, their limit) -> modbus, encrypted, or web and winet (one protocol each, over TLS
or not) -> answers, for a WiNet through its dongle (what the registers say) -> spoiling (what a scheduled fault makes of
it on its way back). opening starts what the command line asks for.
"""
