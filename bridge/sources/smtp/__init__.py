"""The SMTP source: a listener that says 250 when a mail is stored, and not before."""
