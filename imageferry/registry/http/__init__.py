"""One HTTP client for one registry: aiohttp beneath httpx, retries, authentication, proxies, TLS and the SSRF guard."""
