"""Readings: values with unit and quality, made from a scan.

snapshot (what exports get) <- derived (vr001-vr007) <- counters (survive a restart) <- quarantine (impossible energy).
"""
