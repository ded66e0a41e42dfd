"""The sandbox: runs commands in isolation and hands back files; it knows no physics."""
