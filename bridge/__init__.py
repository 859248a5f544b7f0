"""smsbridge turns inbound SMS that arrive as e-mail into signed webhooks, and loses none."""

__version__ = "0.1.0"
