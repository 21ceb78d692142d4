"""A simulated Sungrow solar inverter."""
