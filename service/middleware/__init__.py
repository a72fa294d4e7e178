"""What wraps every route: authentication, and the record of each request."""
