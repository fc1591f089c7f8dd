"""From an announced entry to every viewer: frames, broker, hub, sockets."""
