"""Serve: live sessions over HTTP, WebSocket and WebRTC."""
