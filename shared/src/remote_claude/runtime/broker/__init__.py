"""The broker as a process sees it: the connection, the accounts of the services, and what each may do."""
