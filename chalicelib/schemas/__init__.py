"""What goes in and out over HTTP: requests, responses, and what makes them."""
