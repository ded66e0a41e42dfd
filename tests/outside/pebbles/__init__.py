"""How heavy is a pebble of this beach?"""
