"""The broker-neutral layer: policies, guards, enforcer, gate and receipt log as Python sees them."""
