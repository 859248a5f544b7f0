"""The IMAP source: a mailbox that is never lost sight of."""
