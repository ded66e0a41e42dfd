"""A server of the Model Context Protocol: a client's model calls the typed tools, and starts and follows runs."""
