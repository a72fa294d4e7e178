"""The edge proxy of a deployment: nginx's configuration and the program that runs it."""
