"""Outside servers of the Model Context Protocol whose tools the crew may use, on the host and never in a sandbox."""
