"""The pages: HTML that works without JavaScript, and is live with it."""
