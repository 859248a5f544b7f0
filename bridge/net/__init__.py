"""The network: listening, connecting, TLS, the event loop, limits on peers, the HTTP server."""
