"""The wire side: everything between a client's socket and the register state.

listener (one port: connections, limit, counters, faults) -> modbus, encrypted, winet (one protocol each, over TLS
or not) -> the register state's answer(unit, request). opening starts what the command line asks for.
"""
