"""The pages for browsers, their files, and what the page at `/` asks beside the routes of the codec."""
