"""The network: listening, connecting, TLS, the event loop, and limits on what peers may take."""
