"""Collector for Sungrow solar inverters."""
