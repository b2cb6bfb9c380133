"""Where customers' payments come from."""
