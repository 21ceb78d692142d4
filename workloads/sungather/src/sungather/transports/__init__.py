"""Ways to reach an inverter's registers, behind one interface (transport.py).

modbus (plain, and TLS on 516), encrypted ("sungrow"), winet (the dongle's web interface, old and new);
opening chooses one from the settings.
"""
