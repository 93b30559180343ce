"""Who a registry is asked as: sources of credentials, and the chain in which they are asked."""
