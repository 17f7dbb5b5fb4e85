//! End-to-end comparison against other proxies.
