"""The report on models: accuracy measured anywhere, joined by checksum with latency measured on named machines."""
