"""Pictures: reading what a file says of itself, taking pictures out of data URLs, converting them."""
