"""The edge: what the gateway answers over HTTP and WebSocket."""
