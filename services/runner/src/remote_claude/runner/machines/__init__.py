"""Machines of a user as runners: each dials the gateway, and the runner service gives it sandboxes to run.

The machine holds no credential of the broker and no data key. The service opens what an attempt needs, appends what the
worker reports, and asks the machine only for sandboxes, as it asks a cloud.
"""
