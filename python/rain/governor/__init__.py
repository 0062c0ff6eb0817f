"""The governor as a service: for clients in other processes, and on other machines."""
