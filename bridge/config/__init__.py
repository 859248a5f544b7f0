"""The config: what it may hold (`settings`), how it is read (`load`), where secrets come from."""
