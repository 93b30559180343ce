"""How requests to one registry are held back: user limits, the registry's rate limits and quotas, outages."""
