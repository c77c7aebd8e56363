"""From a URL to pixels: the client, its manners, its guard, and the picture."""
