"""What the operators share: settings, logging, metrics and health, client, leases."""
